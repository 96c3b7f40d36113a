"""Environment variables that send traffic elsewhere or let Flower call home, and Flower's own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned
from diffuse_uda.exchange.quiet import QUIET_ENVIRONMENT

_PROXIES = ("https_proxy", "all_proxy", "http_proxy")
_LOOPBACK = "127.0.0.1"
_CALLS = tuple(name for name in QUIET_ENVIRONMENT if "ACCEL" not in name)
"""The switches among the settings; the others only silence warnings."""


def judge_proxies(environment: Mapping[str, str], hub: str | None) -> Verdict:
    """No proxy stands between this machine and the hub, nor between a site's own processes.

    Args:
        environment: Variables by name.
        hub: The hub's name or address, if known.
    """
    lowered = {name.lower(): value for name, value in environment.items() if value}
    proxies = {name: lowered[name] for name in _PROXIES if name in lowered}
    wanted = "none, or NO_PROXY with the hub and 127.0.0.1"
    if not proxies:
        return passed("proxy", "no proxy variable is set", wanted)
    spared = [entry.strip() for entry in lowered.get("no_proxy", "").split(",") if entry.strip()]
    hosts = dict.fromkeys(host for host in (_LOOPBACK, hub) if host is not None)
    caught = [host for host in hosts if not _is_spared(host, spared)]
    named = ", ".join(f"{name.upper()}={_without_secrets(value)}" for name, value in proxies.items())
    if not caught:
        return passed("proxy", f"{named}; not for the hub, not for loopback", wanted)
    found = f"{named} would catch {' and '.join(caught)}"
    fix = f"NO_PROXY={','.join([*spared, *caught])} in the environment of the service"
    if _LOOPBACK in caught:
        return failed("proxy", f"{found}: the site's own processes could not talk to each other", wanted, fix)
    return warned("proxy", f"{found}: hours of upload, and TLS, would have to pass it", wanted, fix)


def judge_phone_home(before: Mapping[str, str | None]) -> Verdict:
    """Flower and Ray neither report their use, nor ask for updates, nor install packages during a run.

    Args:
        before: What the environment said before this project switched everything off for its own processes.
    """
    wanted = " ".join(f"{name}={QUIET_ENVIRONMENT[name]}" for name in _CALLS)
    fix = "set them for the service, as `python -m diffuse_uda.exchange.quiet` prints them"
    on = [f"{name}={before[name]}" for name in _CALLS if before.get(name) not in {None, QUIET_ENVIRONMENT[name]}]
    unset = [name for name in _CALLS if before.get(name) is None]
    if on:
        return failed("calls home", f"switched on: {', '.join(on)}", wanted, fix)
    if unset:
        found = f"not set: {', '.join(unset)}; off in this project's programs, on in a Flower program started by hand"
        return warned("calls home", found, wanted, fix)
    return passed("calls home", "switched off", wanted)


def flower_home(environment: Mapping[str, str]) -> Path | None:
    """Flower's folder of apps and keys; None without a home folder."""
    if given := environment.get("FLWR_HOME"):
        return Path(given)
    try:
        return Path.home() / ".flwr"
    except RuntimeError:
        return None


def judge_flower_home(folder: Path | None) -> Verdict:
    """Flower can write where it keeps the approved app."""
    wanted = "a writable folder of this service alone"
    fix = "set FLWR_HOME to a folder that the service's account may write to"
    if folder is None:
        return failed("Flower's folder", "neither FLWR_HOME nor a home folder", wanted, fix)
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return failed("Flower's folder", f"{folder}: this account may not write there", wanted, fix)
    return passed("Flower's folder", str(folder), wanted)


def _is_spared(host: str, spared: Sequence[str]) -> bool:
    """Whether NO_PROXY names a host or a domain above it; networks such as 10.0.0.0/8 are understood by few clients."""
    host = host.lower()
    names = [entry.lower().removeprefix("*").removeprefix(".") for entry in spared]
    return "*" in spared or any(host == name or host.endswith(f".{name}") for name in names)


def _without_secrets(proxy: str) -> str:
    """A proxy's host and port: its address may hold a password."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(unreadable)"
    return f"{parts.hostname or '(unreadable)'}{port}"
