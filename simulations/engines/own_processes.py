"""Processes of one engine or rehearsal: ports that nobody else has, and finding all that was started, by a mark.

Flower's programs put their children into sessions of their own, and a killed one cannot say what it has started. What
every process inherits is the environment, so a variable there is the mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

_LOOK_S = 0.05


def free_ports(count: int) -> list[int]:
    """Ports of this machine's loopback on which nobody listens, each once."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def marked_processes(name: str, value: str, *, running: str = "") -> Iterator[int]:
    """Find processes by a variable that they were started with; never this process itself.

    Without `/proc` (outside Linux) nobody is found.

    Args:
        name: The variable.
        value: What it is set to.
        running: Only those with this text in their command line.
    """
    mark = f"{name}={value}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) == os.getpid() or mark not in (process / "environ").read_bytes().split(b"\0"):
                continue
            if running.encode() in (process / "cmdline").read_bytes():
                yield int(process.name)


def kill_marked(name: str, value: str, *, running: str = "", limit_s: float = 15.0) -> int:
    """Kill processes by their mark, without asking, until none is left.

    Returns:
        How many there were.
    """
    killed: set[int] = set()
    until = time.monotonic() + limit_s
    while (left := list(marked_processes(name, value, running=running))) and time.monotonic() < until:
        for pid in left:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_S)
    return len(killed)
