"""The environment of every program that a hub or a site starts: nothing calls home, nothing is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from diffuse_uda.exchange.quiet import QUIET_ENVIRONMENT

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

MEMORY_ENVIRONMENT = MappingProxyType({"MALLOC_ARENA_MAX": "2"})
"""For the C library: threads share two pools. With one for every thread, pieces of models that come and go stay behind
in each of them; measured by `make bench`. What an administrator set wins."""

_TUNING = frozenset(
    {
        "FLWR_LOG_LEVEL",
        "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE",
        "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS",
        "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL",
    }
)
"""What of Flower's variables an administrator may set. Others open ungated ports, trace, or call models and logins."""

_DROPPED = ("FLWR_", "UVICORN_", "PYTHONPATH", "PYTHONSTARTUP")
"""Beginnings of names. Code comes from this project's environment and from approved bundles, from nowhere else."""


def service_environment(inherited: Mapping[str, str], *, flower_home: Path) -> dict[str, str]:
    """Make a program's environment from the one that this process was given.

    Args:
        inherited: Usually `os.environ`; proxies, GPUs and threads are the administrator's business and stay.
        flower_home: Flower's folder.
    """
    environment = {name: value for name, value in inherited.items() if name in _TUNING or not name.startswith(_DROPPED)}
    # A proxy of the hospital must not be asked for the programs of this very machine.
    known = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    without_proxy = ",".join([*filter(None, known.split(",")), *_LOOPBACK])
    return {**MEMORY_ENVIRONMENT, **environment} | {
        **QUIET_ENVIRONMENT,
        "FLWR_HOME": str(flower_home),
        "NO_PROXY": without_proxy,
        "no_proxy": without_proxy,
        "FORWARDED_ALLOW_IPS": "127.0.0.1,::1",  # otherwise any peer could write its own address
        "PYTHONUNBUFFERED": "1",
    }
