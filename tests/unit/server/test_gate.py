import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from diffuse_uda.doctor import hub as doctor_hub
from server.gate import ADMIN_HEADER, FEDERATION_HEADER, ControlAccess, Gate, Receive, Rules, Scope, Send

TOKEN = b"0123456789abcdef"
HERE, THERE, OWN = "127.0.0.1", "192.0.2.7", "10.0.0.5"
Headers = list[tuple[bytes, bytes]]


def rules(control: ControlAccess = ControlAccess.TOKEN_AND_LOOPBACK) -> Rules:
    return Rules(federation="brain", control=control, admin_token=TOKEN, max_request_bytes=100)


def ask(
    path: str,
    *,
    client: str | None = THERE,
    headers: Headers | None = None,
    control: ControlAccess = ControlAccess.TOKEN_AND_LOOPBACK,
    body: tuple[bytes, ...] = (b"",),
    kind: str = "http",
) -> tuple[int | None, dict[bytes, bytes], bytes, bytes]:
    """Send a request through the gate: status, headers and body of the answer, and the body that Flower saw."""
    seen = bytearray()

    async def flower(scope: Scope, receive: Receive, send: Send) -> None:
        while scope["type"] == "http":
            message = await receive()
            seen.extend(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"flower"})

    parts = [
        {"type": "http.request", "body": part, "more_body": place < len(body)} for place, part in enumerate(body, 1)
    ]
    answer: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return parts.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        answer.append(message)

    scope = {
        "type": kind,
        "path": path,
        "method": "POST",
        "headers": headers or [],
        "client": None if client is None else (client, 1234),
        "server": (OWN, 8443),
    }
    asyncio.run(Gate(flower, rules(control))(scope, receive, send))
    if not answer:
        return None, {}, b"", bytes(seen)
    return answer[0]["status"], dict(answer[0]["headers"]), answer[1]["body"], bytes(seen)


def with_token(token: bytes = TOKEN) -> Headers:
    return [(ADMIN_HEADER.encode("ascii"), token)]


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/v1/fleet/activate-node", "/health"])
def test_a_hospital_reaches_fleet_and_health(path: str) -> None:
    assert ask(path)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/v1/responses",
        "/v1/fleet/",
        "/v1/fleet/../control/start-run",
        "/v1/fleet//control/start-run",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages\n",
        "/V1/fleet/pull-messages",
        "//v1/fleet/pull-messages",
        "/health/",
        "/v1/runtime/acquire-task/../../control/start-run",
        "/v1/control/start-run%2e",
        "/v1/model/chat",
    ],
)
def test_what_is_not_known_is_closed_even_on_this_machine_with_the_token(path: str) -> None:
    assert ask(path, client=HERE, headers=with_token())[0] == 403


@pytest.mark.parametrize(
    ("client", "status"),
    [(HERE, 200), ("::1", 200), ("::ffff:127.0.0.1", 200), (OWN, 200), (THERE, 403), ("::ffff:192.0.2.7", 403)],
)
def test_the_runtime_path_is_for_this_machine(client: str, status: int) -> None:
    assert ask("/v1/runtime/acquire-task", client=client)[0] == status


@pytest.mark.parametrize("client", [None, "", "testclient", "unix:"])
def test_a_peer_without_an_address_is_not_this_machine(client: str | None) -> None:
    assert ask("/v1/runtime/acquire-task", client=client)[0] == 403


@pytest.mark.parametrize("header", [b"x-forwarded-for", b"Forwarded", b"Via", b"X-Real-IP", b"x-forwarded-host"])
def test_what_came_through_a_proxy_is_not_this_machine(header: bytes) -> None:
    assert ask("/v1/runtime/acquire-task", client=HERE, headers=[(header, b"127.0.0.1")])[0] == 403
    assert ask("/v1/control/start-run", client=HERE, headers=[*with_token(), (header, b"x")])[0] == 403


@pytest.mark.parametrize(
    ("control", "client", "token", "status"),
    [
        (ControlAccess.TOKEN_AND_LOOPBACK, HERE, TOKEN, 200),
        (ControlAccess.TOKEN_AND_LOOPBACK, HERE, b"", 403),
        (ControlAccess.TOKEN_AND_LOOPBACK, THERE, TOKEN, 403),
        (ControlAccess.TOKEN, THERE, TOKEN, 200),
        (ControlAccess.TOKEN, THERE, TOKEN[:-1], 403),
        (ControlAccess.TOKEN, THERE, TOKEN + b"0", 403),
        (ControlAccess.TOKEN, HERE, b"", 403),
        (ControlAccess.LOOPBACK, HERE, b"", 200),
        (ControlAccess.LOOPBACK, THERE, TOKEN, 403),
    ],
)
def test_control_is_for_whom_the_administrator_said(
    control: ControlAccess, client: str, token: bytes, status: int
) -> None:
    assert ask("/v1/control/start-run", client=client, headers=with_token(token), control=control)[0] == status


def test_two_tokens_are_none() -> None:
    assert ask("/v1/control/start-run", client=HERE, headers=with_token() + with_token(b"x"))[0] == 403


def test_a_refusal_says_why_in_the_form_that_flowers_command_line_shows() -> None:
    status, headers, body, seen = ask("/v1/control/list-runs", client=HERE, body=(b"secret",))
    assert status == 403
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(body)
    assert json.loads(body)["detail"] == f"the control interface wants the admin token in the header {ADMIN_HEADER}"
    assert TOKEN not in body
    assert seen == b""  # Flower heard nothing


def test_the_health_check_alone_says_which_federation_this_is() -> None:
    assert ask("/health")[1] == {b"a": b"b", FEDERATION_HEADER.encode("ascii"): b"brain"}
    assert ask("/v1/fleet/pull-messages")[1] == {b"a": b"b"}
    assert doctor_hub.FEDERATION_HEADER.lower() == FEDERATION_HEADER


def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert ask("/v1/fleet/push-object", body=(b"x" * 60, b"y" * 40))[3] == b"x" * 60 + b"y" * 40
    assert ask("/v1/fleet/push-object", body=(b"x" * 60, b"y" * 41))[3] == b"x" * 60


def test_a_body_that_announces_too_much_is_refused_unread() -> None:
    status, _, body, seen = ask("/v1/fleet/push-object", headers=[(b"Content-Length", b"101")], body=(b"x",))
    assert (status, seen) == (413, b"")
    assert json.loads(body)["detail"] == "wanted at most 100 bytes"
    assert ask("/v1/fleet/push-object", headers=[(b"content-length", b"100")])[0] == 200


def test_a_websocket_is_closed_and_the_start_of_the_server_passes() -> None:
    assert ask("/v1/fleet/pull-messages", kind="websocket")[0] is None
    assert ask("/", kind="lifespan")[0] == 200
