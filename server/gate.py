"""The hub's gate: hospitals reach the fleet path and the health check, nobody else reaches anything by accident.

Flower serves three interfaces on one port: fleet (for nodes, signed by their keys), control (whoever reaches it starts
programs in every hospital; open-source Flower asks for no password) and runtime (for the executor). The gate is an ASGI
middleware in front of all of them: it sees a request before any code of Flower does. What it doesn't know, it refuses.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Any

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ADMIN_HEADER = "x-diffuse-uda-admin"
"""Request header with the admin token."""
FEDERATION_HEADER = "x-diffuse-uda-federation"
"""Response header of the health check: which federation this hub serves. `diffuse_uda.doctor.hub` reads it."""

_FLEET = re.compile(r"/v1/fleet/[a-z][a-z-]*")
_CONTROL = re.compile(r"/v1/control/[a-z][a-z-]*")
_RUNTIME = re.compile(r"/v1/runtime/[a-z][a-z-]*")
_FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
"""A request with one of these came through a proxy: the peer's address is the proxy's, not the sender's."""


class ControlAccess(StrEnum):
    """Who may start runs, stop them, and register sites."""

    TOKEN_AND_LOOPBACK = "token-and-loopback"  # noqa: S105 - the name of a rule
    TOKEN = "token"  # noqa: S105
    LOOPBACK = "loopback"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the gate lets through."""

    federation: str
    control: ControlAccess
    admin_token: bytes
    max_request_bytes: int
    """Longest body of a request. Flower reads a body whole before it looks at the sender's key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """Who sends a request, as far as the connection tells."""

    is_local: bool
    """From this machine itself, and not through a proxy."""
    token: bytes


def peer_of(scope: Scope) -> Peer:
    """Read the sender from a request: its address, and its token if it has one."""
    headers = scope["headers"]
    tokens = [value for name, value in headers if name.lower() == ADMIN_HEADER.encode("ascii")]
    address, own = (scope.get("client") or ("",))[0], (scope.get("server") or ("",))[0]
    forwarded = any(name.lower() in _FORWARDED for name, _ in headers)
    return Peer(
        # Who connects from the address it connects to is on this machine; no other machine gets answers to that.
        is_local=not forwarded and (_is_loopback(address) or (address != "" and address == own)),
        token=tokens[0] if len(tokens) == 1 else b"",
    )


def refusal(path: str, peer: Peer, rules: Rules) -> str:
    """Say why a path is closed to a peer; an empty text lets it through."""
    if path == "/health" or _FLEET.fullmatch(path):
        return ""
    if _RUNTIME.fullmatch(path):
        return "" if peer.is_local else "the runtime interface is for this hub's own executor"
    if _CONTROL.fullmatch(path):
        if rules.control is not ControlAccess.TOKEN and not peer.is_local:
            return "the control interface is open on the hub's own machine only"
        if rules.control is not ControlAccess.LOOPBACK and not hmac.compare_digest(peer.token, rules.admin_token):
            return f"the control interface wants the admin token in the header {ADMIN_HEADER}"
        return ""
    return "no such path"


class Gate:
    """The rules as ASGI middleware; streams pass untouched."""

    def __init__(self, app: App, rules: Rules) -> None:
        """Stand in front of an application."""
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a websocket: closed without a word
        path = scope["path"]
        if why := refusal(path, peer_of(scope), self._rules):
            logger.warning("refused %s %s from %s: %s", scope["method"], ascii(path), scope.get("client"), why)
            await _answer(send, 403, why)
            return
        limit = self._rules.max_request_bytes
        if _declared_bytes(scope) > limit:
            await _answer(send, 413, f"wanted at most {limit} bytes")
            return
        # The health check says which federation this is; everything else passes as it is.
        labelled = _with_name(send, self._rules.federation) if path == "/health" else send
        await self._app(scope, _limited(receive, limit), labelled)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name.lower() == b"content-length":
            return int(value) if value.isdigit() else 0  # the server has refused lengths that are no number
    return 0


def _limited(receive: Receive, limit: int) -> Receive:
    """Hand on a body as long as it is not longer than allowed; a longer one ends as if the peer had hung up."""
    num_bytes = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        return {"type": "http.disconnect"} if num_bytes > limit else message

    return counted


def _with_name(send: Send, federation: str) -> Send:
    async def labelled(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            label = (FEDERATION_HEADER.encode("ascii"), federation.encode("ascii"))
            message = {**message, "headers": [*message.get("headers", ()), label]}
        await send(message)

    return labelled


async def _answer(send: Send, status: int, words: str) -> None:
    body = json.dumps({"detail": words}).encode("ascii")  # Flower's command line shows this key
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
