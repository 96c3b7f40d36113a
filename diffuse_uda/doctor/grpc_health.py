"""The gRPC health service that hub and site show to their service managers (plaintext, hence on loopback)."""

from __future__ import annotations

import ipaddress

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

SERVING = "SERVING"


def probe_health(address: Address, *, timeout_s: float) -> str:
    """Ask for the health of the whole server.

    Returns:
        `SERVING`, `NOT_SERVING`, ..., or gRPC's code (`UNAVAILABLE`, `UNIMPLEMENTED`, ...) where there was no answer.
    """
    # A proxy of the environment would be asked for loopback, too.
    with grpc.insecure_channel(str(address), options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def judge_grpc_health(address: Address, answer: str) -> Verdict:
    """The service is up and well, and strangers cannot ask it."""
    wanted = f"{SERVING}, on a loopback address"
    if answer != SERVING:
        fix = "is the process running, and started with --health-server-address? its log says why it is not serving"
        return failed("gRPC health", f"{address}: {answer}", wanted, fix)
    if not _is_loopback(address.host):
        fix = "the service has no TLS: let it listen on 127.0.0.1"
        return warned("gRPC health", f"{address}: {answer}, open to the network", wanted, fix)
    return passed("gRPC health", f"{address}: {answer}", wanted)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
