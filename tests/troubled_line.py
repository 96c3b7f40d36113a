"""A line that is cut and slow: it passes bytes on between sites and their hub without reading them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_PIECE = 16384


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """What is wrong with a line."""

    cut_after_bytes: int | None = None
    """How many bytes the sites have sent, all together, when every connection is cut; absent: it is never cut."""
    cut_s: float = 0.0
    """Seconds in which nobody gets through after that."""
    delay_s: float = 0.0
    """Seconds that every piece is on its way."""
    bytes_per_s: float = float("inf")
    """Of every connection, each way."""


@dataclass(kw_only=True)
class Line:
    """A line in use."""

    trouble: Trouble
    hub_port: int
    sent_by_sites: int = 0
    num_cuts: int = 0
    _dead_until: float = 0.0
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Pass on whatever comes until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                site, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(site,), daemon=True).start()

    def _pass_on(self, site: socket.socket) -> None:
        with contextlib.suppress(OSError), site:
            if time.monotonic() < self._dead_until:
                return
            with socket.create_connection(("127.0.0.1", self.hub_port)) as hub:
                with self._lock:
                    self._open |= {site, hub}
                back = threading.Thread(target=self._carry, args=(hub, site, False), daemon=True)
                back.start()
                self._carry(site, hub, is_upload=True)
                back.join()
                with self._lock:
                    self._open -= {site, hub}

    def _carry(self, source: socket.socket, target: socket.socket, is_upload: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                time.sleep(self.trouble.delay_s + len(piece) / self.trouble.bytes_per_s)
                if is_upload and self._is_cut_by(len(piece)):
                    return
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_cut_by(self, num_bytes: int) -> bool:
        """Count what sites send; cut the line in the middle of the piece that goes beyond the limit."""
        with self._lock:
            self.sent_by_sites += num_bytes
            limit = self.trouble.cut_after_bytes
            if limit is None or self.num_cuts or self.sent_by_sites < limit:
                return False
            self.num_cuts += 1
            self._dead_until = time.monotonic() + self.trouble.cut_s
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            return True


@contextmanager
def troubled_line(hub_port: int, port: int, trouble: Trouble) -> Iterator[Line]:
    """Stand between the sites, who call `port`, and their hub while the block runs."""
    line = Line(trouble=trouble, hub_port=hub_port)
    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=line.serve, args=(listener,), daemon=True)
        thread.start()
        yield line
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10.0)
