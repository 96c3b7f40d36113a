"""One run of a rehearsal: started by the hub's administrator, disturbed as planned, watched until its end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.deployment.readiness import wait_until_serving
from diffuse_uda.doctor.grpc_health import SERVING
from diffuse_uda.exchange.run_options import RUN_DIR
from diffuse_uda.types import Scalar
from server.ending import END_FILE, RunEnd
from server.history import HISTORY_FILE
from simulations.engines.own_processes import kill_marked
from simulations.rehearsal.plan import Kill
from simulations.rehearsal.services import CHECKOUT, MARK, RehearsalError, Running, Service
from simulations.rehearsal.stage import Stage, write_toml

COMMAND_LIMIT_S = 180.0
"""For one of the administrator's commands."""
START_LIMIT_S = 180.0
"""For the hub to serve."""
SILENCE_LIMIT_S = 120.0
"""For a server app to appear after a run was started; it imports everything first."""
_LOOK_S = 0.5

SERVER_APP = "flwr-serverapp"
CLIENT_APP = "flwr-clientapp"
_TASK = "flower_internals.py\0"
"""In the command line of an executor and of its tasks, before the program's name."""


@dataclass(kw_only=True, slots=True)
class Performance:
    """A stage whose services run."""

    stage: Stage
    running: Running
    say: Callable[[str], None]
    until: float
    """On the monotonic clock: the end of all patience."""
    killed: list[Kill] = field(default_factory=list)
    """Whom it has killed so far."""

    def open(self) -> None:
        """Start the hub, register the sites' keys, start the sites.

        Raises:
            RehearsalError: If anything does not start.
        """
        self._start_hub()
        for site_id, key in self.stage.public_keys.items():
            self.administer("supernode", "register", str(key), "--name", site_id)
        for site in self.stage.sites:
            self.running.start(site)
        self.say(f"hub and {len(self.stage.sites)} sites run")

    def play(self, run_config: Mapping[str, Scalar], kills: Sequence[Kill] = ()) -> RunEnd:
        """Start a run and watch it until it ends.

        Args:
            run_config: Overrides of what the app declares; the run's folder is added.
            kills: Whom to kill, one after each of the first rounds.

        Raises:
            RehearsalError: If something ends by itself, or the time is over.
        """
        overrides = self.stage.hub.folder / "overrides.toml"
        write_toml(overrides, {**run_config, RUN_DIR: str(self.stage.run_dir)})
        self._submit(overrides)
        seen = time.monotonic()
        while (end := self._end()) is RunEnd.RUNNING:
            self.running.require_alive()
            now = time.monotonic()
            if now > self.until:
                raise RehearsalError("the time is over" + self._logs())
            if _tasks(self.stage.hub, SERVER_APP):
                seen = now
            elif now - seen > SILENCE_LIMIT_S:
                raise RehearsalError(f"no server app for {SILENCE_LIMIT_S:g} s" + self._logs())
            num_killed = len(self.killed)
            if (
                num_killed < len(kills)
                and self._num_rounds() > num_killed
                and self._disturb(kills[num_killed], overrides)
            ):
                self.killed.append(kills[num_killed])
                seen = time.monotonic()
            time.sleep(_LOOK_S)
        return end

    def administer(self, *arguments: str) -> str:
        """Give one command of Flower's to the hub, as its administrator.

        Raises:
            RehearsalError: If it fails, with what it said.
        """
        command = [sys.executable, "-m", "server", "flwr", str(self.stage.hub_settings), *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - this project's own program
                command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            msg = f"`flwr {arguments[0]}` took longer than {COMMAND_LIMIT_S:g} s" + self._logs()
            raise RehearsalError(msg) from None
        if done.returncode:
            msg = f"`flwr {arguments[0]}` failed:\n{done.stdout}{done.stderr}" + self._logs()
            raise RehearsalError(msg)
        return done.stdout

    def _submit(self, overrides: Path) -> None:
        said = self.administer("run", str(self.stage.app), "hub", "-c", str(overrides), "--format", "json")
        answer = json.loads(said)
        if not answer.get("success"):
            msg = f"the run was not taken: {answer.get('error-message') or said}" + self._logs()
            raise RehearsalError(msg)
        self.say(f"run {answer['run-id']} started")

    def _start_hub(self) -> None:
        self.running.start(self.stage.hub)
        until = time.monotonic() + START_LIMIT_S
        while set(wait_until_serving(self.stage.hub_health, wait_s=2.0).values()) != {SERVING}:
            self.running.require_alive()
            if time.monotonic() > until:
                raise RehearsalError(f"the hub does not serve after {START_LIMIT_S:g} s" + self._logs())

    def _disturb(self, kill: Kill, overrides: Path) -> bool:
        """Kill somebody, if there is work to be lost, and start it again; returns whether that was done."""
        victim = self.stage.sites[-1]
        at_work = [victim] if kill is Kill.SITE else self.stage.sites
        if not any(_tasks(site, CLIENT_APP) for site in at_work) or not _tasks(self.stage.hub, SERVER_APP):
            return False
        if kill is Kill.SITE:
            count = self.running.kill(victim)
            self.running.start(victim)
        elif kill is Kill.COORDINATOR:
            count = kill_marked(MARK, self.stage.hub.mark, running=_TASK + SERVER_APP)
            self._submit(overrides)
        else:
            count = self.running.kill(self.stage.hub)
            self._start_hub()
            self._submit(overrides)
        self.say(f"killed {kill.value}: {count} processes, started again")
        return True

    def _end(self) -> RunEnd:
        """What the run says of itself; its lock is left alone, for whoever starts may need it at this very moment."""
        try:
            return RunEnd(json.loads((self.stage.run_dir / END_FILE).read_text(encoding="utf-8"))["end"])
        except FileNotFoundError:
            return RunEnd.RUNNING

    def _num_rounds(self) -> int:
        try:
            return len((self.stage.run_dir / HISTORY_FILE).read_bytes().splitlines())
        except FileNotFoundError:
            return 0

    def _logs(self) -> str:
        return "".join(f"\n{service.log_end()}" for service in self.running.services)


def _tasks(service: Service, program: str) -> list[int]:
    return service.processes(running=_TASK + program)
