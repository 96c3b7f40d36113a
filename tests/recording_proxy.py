"""A hub's double: it holds the hub's certificate, reads what comes out of the TLS of sites, and passes all of it on.

One thread does everything: OpenSSL crashes the process when two threads read and write one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    loop = asyncio.new_event_loop()

    async def pass_on(site: asyncio.StreamReader, to_site: asyncio.StreamWriter) -> None:
        # A hub that is not there yet is a connection that ends at once.
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(to_site):
            hub, to_the_hub = await asyncio.open_connection(
                "127.0.0.1", hub_port, ssl=to_hub, server_hostname="localhost"
            )
            said, heard = bytearray(), bytearray()
            recording.from_sites.append(said)
            recording.to_sites.append(heard)
            with contextlib.closing(to_the_hub):
                pumps = [asyncio.create_task(_pump(site, to_the_hub, said))]
                pumps.append(asyncio.create_task(_pump(hub, to_site, heard)))
                # Whoever hangs up, on either side, hangs up on the other.
                _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in left:
                    pump.cancel()

    async def hang_up() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(pass_on, "127.0.0.1", port, ssl=to_sites))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield recording
    finally:
        asyncio.run_coroutine_threadsafe(hang_up(), loop).result(10.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10.0)
        loop.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            record += piece
            target.write(piece)
            await target.drain()
