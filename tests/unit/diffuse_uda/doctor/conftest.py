"""A federation's papers, and hubs on loopback that are well, ill, or impostors."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diffuse_uda.doctor.address import Address
from tests.papers import Paper, issue, make_ca

MakePaper = Callable[..., Paper]
StartHub = Callable[..., Address]


@pytest.fixture
def ca(tmp_path: Path) -> Paper:
    return make_ca(tmp_path, "ca")


@pytest.fixture
def hub_paper(ca: Paper, tmp_path: Path) -> Paper:
    return issue(ca, tmp_path)


@pytest.fixture
def make_paper(ca: Paper, tmp_path: Path) -> MakePaper:
    """Issue another certificate of the same CA."""

    def make(name: str = "other", **options: object) -> Paper:
        return issue(ca, tmp_path, name, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def other_ca(tmp_path: Path) -> Paper:
    (tmp_path / "elsewhere").mkdir()
    return make_ca(tmp_path / "elsewhere", "other-ca")


class _Hub(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up are what these tests are about."""


@pytest.fixture
def start_hub() -> Iterator[StartHub]:
    """Start HTTP servers on loopback: with a certificate or without, with any clock, status and federation."""
    with contextlib.ExitStack() as stack:

        def start(
            paper: Paper | None, *, ahead_s: float = 0.0, status: int = 200, federation: str | None = "brains"
        ) -> Address:
            class Answers(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(status if self.path == "/health" else 404)
                    if federation is not None:
                        self.send_header("x-diffuse-uda-federation", federation)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

                def date_time_string(self, timestamp: float | None = None) -> str:
                    now = dt.datetime.now(dt.UTC).timestamp()
                    return super().date_time_string((timestamp or now) + ahead_s)

                def log_message(self, *_: object) -> None:
                    pass

            hub = _Hub(("127.0.0.1", 0), Answers)
            if paper is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(paper.file, paper.key_file)
                hub.socket = context.wrap_socket(hub.socket, server_side=True, do_handshake_on_connect=False)
            thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(hub.server_close)
            stack.callback(thread.join)
            stack.callback(hub.shutdown)
            return Address(host="127.0.0.1", port=hub.server_address[1])

        yield start


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
