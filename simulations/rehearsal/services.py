"""The processes of a rehearsal: the hub and every site by its own launcher, each with its own folders and log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Never

from diffuse_uda.errors import DiffuseUdaError
from simulations.engines.own_processes import kill_marked, marked_processes

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that holds `server` and `client`: they are never installed."""

MARK = "DIFFUSE_UDA_REHEARSAL"
"""Variable in the environment of every process of a rehearsal: whose it is."""

GRACE_S = 60.0
"""For a hub or a site to end when it is asked."""
LOG_LINES = 25


class RehearsalError(DiffuseUdaError):
    """A rehearsal that did not come to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The hub, or one site."""

    name: str
    command: tuple[str, ...]
    """What stands behind `python -m`."""
    folder: Path
    """Its own; holds the log."""

    @property
    def mark(self) -> str:
        """What tells its processes from all others of this machine."""
        return str(self.folder.resolve())

    @property
    def log(self) -> Path:
        """Everything that it and its programs print."""
        return self.folder / "log.txt"

    def log_end(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return f"--- {self.log}\n" + "\n".join(lines[-LOG_LINES:])

    def processes(self, running: str = "") -> list[int]:
        """Its processes, or those of them that run a program."""
        return list(marked_processes(MARK, self.mark, running=running))


@dataclass(kw_only=True, slots=True)
class Running:
    """The services that run; none is left behind by `cleaned_up`."""

    services: list[Service] = field(default_factory=list)
    _launchers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, service: Service) -> None:
        """Start a service, for the first time or again."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
        with service.log.open("ab") as log:
            self._launchers[service.name] = subprocess.Popen(  # noqa: S603 - this project's own programs
                [sys.executable, "-m", *service.command],
                env={**environment, MARK: service.mark, "PYTHONUNBUFFERED": "1"},
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if service not in self.services:
            self.services.append(service)

    def kill(self, service: Service) -> int:
        """Kill everything of a service at once, as a loss of power does; returns how many processes that were."""
        count = kill_marked(MARK, service.mark)
        self._launchers[service.name].wait(GRACE_S)
        return count

    def require_alive(self) -> None:
        """See that nothing has ended by itself.

        Raises:
            RehearsalError: With the end of the log of what has.
        """
        for service in self.services:
            if (code := self._launchers[service.name].poll()) is not None:
                msg = f"{service.name} ended with exit code {code}\n{service.log_end()}"
                raise RehearsalError(msg)

    def end(self) -> dict[str, int]:
        """Ask all to end, the latest first, and wait.

        Returns:
            Exit codes by name; -9 for what had to be killed.
        """
        for service in reversed(self.services):
            self._launchers[service.name].send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        codes = {}
        for service in reversed(self.services):
            launcher = self._launchers[service.name]
            try:
                launcher.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                launcher.kill()
                launcher.wait()
            codes[service.name] = launcher.returncode
        return codes

    def kill_all(self) -> None:
        """Kill whatever is left of any of them."""
        for service in self.services:
            kill_marked(MARK, service.mark)
            self._launchers[service.name].wait(GRACE_S)


@contextmanager
def cleaned_up() -> Iterator[Running]:
    """Run services; however the block ends, by SIGTERM and SIGHUP as well, no process is left."""

    def interrupt(number: int, _frame: FrameType | None) -> Never:
        raise KeyboardInterrupt(signal.Signals(number).name)

    running = Running()
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield running
    finally:
        try:
            running.kill_all()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
