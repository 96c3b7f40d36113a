"""A hub's double: it holds the hub's certificate, reads what comes out of the TLS of sites, and passes all of it on."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PIECE = 65536


@dataclass(kw_only=True)
class Recording:
    """What passed, in plain."""

    port: int
    from_sites: list[bytearray] = field(default_factory=list)
    """One for each connection: a name that is cut in two by packets is whole here."""
    to_sites: list[bytearray] = field(default_factory=list)


@contextmanager
def recording_proxy(hub: Path, hub_port: int, port: int) -> Iterator[Recording]:
    """Stand between the sites and their hub while the block runs.

    Args:
        hub: Folder with the hub's certificate, its key, and the CA.
        hub_port: Where the hub listens.
        port: Where the sites call.
    """
    to_sites = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    to_sites.load_cert_chain(hub / "hub.pem", hub / "hub.key")
    to_hub = ssl.create_default_context(cafile=hub / "ca.pem")
    recording = Recording(port=port)
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, to_sites, to_hub, hub_port, recording), daemon=True)
        thread.start()
        yield recording
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10.0)


def _accept(
    listener: socket.socket, to_sites: ssl.SSLContext, to_hub: ssl.SSLContext, hub_port: int, recording: Recording
) -> None:
    with contextlib.suppress(OSError):
        while True:
            site, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(site, to_sites, to_hub, hub_port, recording), daemon=True).start()


def _pass_on(
    site: socket.socket, to_sites: ssl.SSLContext, to_hub: ssl.SSLContext, hub_port: int, recording: Recording
) -> None:
    # Whoever hangs up, on either side, hangs up on the other; a hub that is not there yet is a refused connection.
    with contextlib.suppress(OSError), to_sites.wrap_socket(site, server_side=True) as from_site:
        plain = socket.create_connection(("127.0.0.1", hub_port))
        with to_hub.wrap_socket(plain, server_hostname="localhost") as from_hub:
            said, heard = bytearray(), bytearray()
            recording.from_sites.append(said)
            recording.to_sites.append(heard)
            back = threading.Thread(target=_pump, args=(from_hub, from_site, heard), daemon=True)
            back.start()
            _pump(from_site, from_hub, said)
            back.join()


def _pump(source: ssl.SSLSocket, target: ssl.SSLSocket, record: bytearray) -> None:
    with contextlib.suppress(OSError, ValueError):
        while piece := source.recv(_PIECE):
            record += piece
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
