"""Two hundred rounds in a row: memory, open files and the disk stay what they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.training.interruption import allow_local_work
from server.history import Event, RoundSaved
from simulations.engines.in_process import run_in_process
from tests.arithmetic_tasks import ROUND_OF_ALL
from tests.fake_federation import node_configs, run_config, use_arithmetic

NUM_ROUNDS = 200
SETTLED = 50
"""Rounds after which nothing is loaded for the first time any more."""


@pytest.fixture(autouse=True)
def _arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_arithmetic(monkeypatch)
    yield
    allow_local_work()


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.fault("R-16")
def test_two_hundred_rounds_leak_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    megabytes, descriptors, files, log_bytes = list[float](), list[int](), list[int](), list[float]()

    def measure(event: Event) -> None:
        if isinstance(event, RoundSaved) and event.phase == "adapt":
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            megabytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            descriptors.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
            paths = [path for path in tmp_path.rglob("*") if path.is_file()]
            files.append(len(paths))
            log_bytes.append(sum(path.stat().st_size for path in paths))

    flat = run_config(tmp_path, **{"adapt.num-rounds": NUM_ROUNDS, "adapt.learning-rate": 500.0})
    run_in_process(flat, node_configs(tmp_path), on_event=measure)
    assert len(megabytes) == NUM_ROUNDS
    growth = _slope(megabytes)
    record_property("memory_growth_MB_a_round", round(growth, 4))
    record_property("disk_growth_kB_a_round", round(_slope(log_bytes) / 1e3, 1))
    record_property("open_files", f"{min(descriptors[SETTLED:])} to {max(descriptors[SETTLED:])}")
    record_property("files_on_disk", f"{min(files[SETTLED:])} to {max(files[SETTLED:])}")
    assert growth < 1.0
    assert max(descriptors[SETTLED:]) - min(descriptors[SETTLED:]) <= 3  # a draft that is just being written
    assert len(set(files[SETTLED:-1])) == 1  # the last round gives its model the name of the phase as well
    assert _slope(log_bytes) < 50e3  # lines of journal, history and audit logs
    weights, _ = load_checkpoint(tmp_path / "run" / "segmenter")
    assert float(weights["scale"]) == pytest.approx(1.0 + NUM_ROUNDS * ROUND_OF_ALL)


def _slope(values: list[float]) -> float:
    """Growth a round, by least squares, once everything is loaded."""
    settled = np.array(values[SETTLED:], dtype=np.float64)
    return float(np.polyfit(np.arange(len(settled)), settled, 1)[0])
