"""The operating system refuses memory for the average: a named end, nothing lost, and the same command goes on."""

from __future__ import annotations

import multiprocessing
import resource
from collections import Counter
from pathlib import Path

import pytest
import torch

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.plan import forms_of
from diffuse_uda.landmarks import Landmark, watched_by
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.types import ModelName, StateDict
from server.ending import RunEnd, read_ending
from simulations.engines.in_process import run_in_process
from tests.arithmetic_tasks import ROUND_OF_ALL
from tests.fake_federation import node_configs, run_config, use_arithmetic

NUM_VALUES = 16 * 2**20
"""64 MiB: more than the allocator keeps for another time, so memory for an average has to be asked for."""


def _large_weights() -> StateDict:
    return {"weight": torch.zeros(NUM_VALUES), "scale": torch.tensor(0.0), "count": torch.tensor(0)}


def _initial_weights(_config: StudyConfig, _name: ModelName, _num_classes: int) -> StateDict:
    return _large_weights()


def _run(folder: Path, *, starved: bool) -> None:
    passed: Counter[Landmark] = Counter()

    def starve(landmark: Landmark) -> None:
        passed[landmark] += 1
        # One reply in the warm-up, two in its evaluation: the sixth completes the first round of all.
        if starved and landmark is Landmark.MID_GATHER and passed[landmark] == 6:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limit = pages * resource.getpagesize() + 8 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    forms = forms_of(_large_weights())
    with pytest.MonkeyPatch.context() as patch:
        use_arithmetic(patch)
        patch.setattr("server.server_app.initial_weights", _initial_weights)
        patch.setattr("diffuse_uda.exchange.plan.model_forms", lambda *_: forms)
        with watched_by(starve):
            run_in_process(run_config(folder), node_configs(folder), on_event=lambda _event: None)


def _in_a_process(folder: Path, *, starved: bool) -> int | None:
    process = multiprocessing.get_context("forkserver").Process(
        target=_run, args=(folder,), kwargs={"starved": starved}
    )
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.fault("R-13")
def test_a_coordinator_that_gets_no_memory_fails_by_name_and_goes_on_with_more(tmp_path: Path) -> None:
    assert _in_a_process(tmp_path, starved=True) == 1
    ending = read_ending(tmp_path / "run")
    assert ending is not None
    assert ending.end is RunEnd.FAILED
    assert "memory" in ending.reason.lower()
    assert _in_a_process(tmp_path, starved=False) == 0
    weights, _ = load_checkpoint(tmp_path / "run" / "segmenter")
    assert bool((weights["weight"] == 1.0 + ROUND_OF_ALL).all())
