"""A rehearsal from scans to verdict: the study in one process, then across processes, and the same weights wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffuse_uda.reporting.history_view import exchange_by_phase, read_history
from diffuse_uda.types import Scalar
from server.ending import RunEnd
from server.history import HISTORY_FILE
from simulations.engines.in_process import run_in_process
from simulations.rehearsal.performance import Performance
from simulations.rehearsal.plan import Rehearsal
from simulations.rehearsal.services import RehearsalError, cleaned_up
from simulations.rehearsal.stage import SOURCE, copy_app, set_stage
from simulations.rehearsal.weights import differing_models


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How a rehearsal went."""

    status: RunEnd
    """How the run across processes ended."""
    weights_identical: bool
    """Whether it ended with the weights of the run in one process, every bit."""
    differing: list[str]
    """Models that differ."""
    sites: list[str]
    rounds: int
    kills: list[str]
    seconds: dict[str, float]
    """`in_process`, `start` (hub serves, keys registered), `run` (from its start to its end), `end`."""
    bytes: dict[str, int]
    """Over all rounds: `to_sites`, `to_hub`."""

    def as_json(self) -> dict[str, Any]:
        """For a machine to read."""
        return asdict(self)


def rehearse(plan: Rehearsal, say: Callable[[str], None]) -> Verdict:
    """Carry out a rehearsal.

    Args:
        plan: What, and what is killed on the way.
        say: Told what happens.

    Raises:
        RehearsalError: If a process does not start, ends by itself or takes too long; with the ends of the logs.
    """
    folder = plan.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    scans = plan.write_scans()
    clock = _Laps()
    say(f"{plan.study['method']}, {len(scans)} sites: first in one process")
    reference = folder / "in-process"
    run_in_process({**plan.study, "run-dir": str(reference / "run")}, _nodes(scans, reference))
    clock.lap("in_process")
    stage = set_stage(folder, scans, app=copy_app(folder / "app"))
    with cleaned_up() as running:
        performance = Performance(stage=stage, running=running, say=say, until=time.monotonic() + plan.limit_s)
        performance.open()
        clock.lap("start")
        status = performance.play(plan.study, plan.kills)
        clock.lap("run")
        codes = running.end()
        clock.lap("end")
    if set(codes.values()) != {0}:
        msg = f"hub and sites were asked to end; exit codes: {codes}, wanted 0\n{stage.hub.log_end()}"
        raise RehearsalError(msg)
    if status is not RunEnd.COMPLETED:
        differing = ["the run was not completed"]
        say(stage.hub.log_end())
    elif spared := plan.kills[len(performance.killed) :]:
        msg = f"the run ended before {spared[0].value} was killed at work; give it more rounds with --set"
        raise RehearsalError(msg)
    else:
        differing = differing_models(reference / "run", stage.run_dir)
    history = read_history(stage.run_dir / HISTORY_FILE)
    total = exchange_by_phase(history)["total"]
    return Verdict(
        status=status,
        weights_identical=not differing,
        differing=differing,
        sites=list(scans),
        rounds=len(history),
        kills=[kill.value for kill in performance.killed],
        seconds=clock.seconds,
        bytes={"to_sites": total["to_sites_bytes"], "to_hub": total["to_server_bytes"]},
    )


def _nodes(scans: dict[str, Path], folder: Path) -> list[dict[str, Scalar]]:
    return [
        {
            "site-id": site_id,
            "role": "source" if site_id == SOURCE else "target",
            "data-dir": str(data_dir),
            "workspace": str(folder / site_id),
        }
        for site_id, data_dir in scans.items()
    ]


class _Laps:
    """Seconds of the parts of something."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._began, 1)
        self._began = now
