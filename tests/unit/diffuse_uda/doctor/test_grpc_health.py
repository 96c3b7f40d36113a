"""The gRPC health service: serving, not serving, not there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.grpc_health import judge_grpc_health, probe_health
from diffuse_uda.doctor.verdict import Status

HERE = Address(host="127.0.0.1", port=9099)


@pytest.fixture
def service() -> Iterator[tuple[health.HealthServicer, Address]]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, Address(host="127.0.0.1", port=port)
    server.stop(grace=None).wait()


def test_a_service_says_how_it_is(
    service: tuple[health.HealthServicer, Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    servicer, address = service
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # would catch loopback, too
    assert probe_health(address, timeout_s=5.0) == "SERVING"
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert probe_health(address, timeout_s=5.0) == "NOT_SERVING"


def test_nobody_there_is_grpcs_own_word(closed_port: int) -> None:
    assert probe_health(Address(host="127.0.0.1", port=closed_port), timeout_s=5.0) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("host", "answer", "status"),
    [
        ("127.0.0.1", "SERVING", Status.PASS),
        ("::1", "SERVING", Status.PASS),
        ("localhost", "SERVING", Status.PASS),
        ("10.0.0.7", "SERVING", Status.WARN),
        ("hub.example.org", "SERVING", Status.WARN),
        ("127.0.0.1", "NOT_SERVING", Status.FAIL),
        ("127.0.0.1", "UNAVAILABLE", Status.FAIL),
    ],
)
def test_it_serves_and_strangers_cannot_ask(host: str, answer: str, status: Status) -> None:
    assert judge_grpc_health(Address(host=host, port=1), answer).status is status
