"""A whole run always ends with a name, whatever ends it, and goes on from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message

from diffuse_uda.errors import QuorumError
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.training.interruption import allow_local_work
from server.averaging import average_round
from server.ending import RunEnd, read_ending
from simulations.engines.in_process import run_in_process
from tests import arithmetic_tasks
from tests.arithmetic_tasks import ROUND_OF_ALL
from tests.fake_federation import node_configs, run_config, use_arithmetic


@pytest.fixture(autouse=True)
def _arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_arithmetic(monkeypatch)
    yield
    allow_local_work()


def _run(folder: Path, **options: Any) -> None:
    changes = {"adapt.num-rounds": 2, **options.pop("changes", {})}
    run_in_process(run_config(folder, **changes), node_configs(folder), on_event=lambda _event: None, **options)


def _end(folder: Path) -> RunEnd:
    ending = read_ending(folder / "run")
    assert ending is not None
    return ending.end


def _segmenter(folder: Path) -> float:
    weights, _ = load_checkpoint(folder / "run" / "segmenter")
    return float(weights["scale"])


def test_a_run_that_is_done_is_completed(tmp_path: Path) -> None:
    _run(tmp_path)
    assert _end(tmp_path) is RunEnd.COMPLETED
    assert _segmenter(tmp_path) == 1.0 + 2 * ROUND_OF_ALL


@pytest.mark.fault("R-13")
def test_no_memory_for_an_average_is_a_failed_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def starved(config: Any, phase: Any, *rest: Any) -> Any:
        calls.append(phase.label)
        if calls.count("adapt") == 2 and phase.label == "adapt":
            raise MemoryError
        return average_round(config, phase, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("server.strategy.average_round", starved)
        with pytest.raises(MemoryError):
            _run(tmp_path)
    assert _end(tmp_path) is RunEnd.FAILED
    _run(tmp_path)
    assert _end(tmp_path) is RunEnd.COMPLETED
    assert _segmenter(tmp_path) == 1.0 + 2 * ROUND_OF_ALL


def test_too_few_usable_replies_desert_a_run_and_it_goes_on_when_they_are_back(tmp_path: Path) -> None:
    def broken(message: Message) -> None:
        if message.metadata.message_type == "train.adapt_source":
            raise RuntimeError

    with pytest.raises(QuorumError):
        _run(tmp_path, on_delivery=broken)
    assert _end(tmp_path) is RunEnd.DESERTED
    _run(tmp_path)
    assert _segmenter(tmp_path) == 1.0 + 2 * ROUND_OF_ALL


@pytest.mark.fault("R-08")
def test_a_source_that_never_appears_deserts_the_run_after_the_gathering(tmp_path: Path) -> None:
    changes = {"federation.join-timeout-s": 0.2}
    with pytest.raises(QuorumError, match="no source joined, only the targets"):
        run_in_process(run_config(tmp_path, **changes), node_configs(tmp_path)[::2], on_event=lambda _event: None)
    assert _end(tmp_path) is RunEnd.DESERTED


def test_a_poisoned_round_is_in_the_history_and_its_update_in_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = arithmetic_tasks.run_task

    def poisoned(site: Any, config: Any, order: Any, weights: Any, **_options: Any) -> Any:
        reply = work(site, config, order, weights)
        if site.site_id == "target-b" and order.phase == "adapt" and reply.weights is not None:
            reply.weights["weight"] = torch.full((2,), 1e30)
        return reply

    monkeypatch.setattr(arithmetic_tasks, "run_task", poisoned)
    _run(tmp_path)
    assert _end(tmp_path) is RunEnd.COMPLETED
    history = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8")
    assert "a value of tensor 'weight' moved by 1e+30" in history
    kept = sorted((tmp_path / "run" / "quarantine" / "target-b").iterdir())
    assert [place.name for place in kept] == ["adapt-0001", "adapt-0002"]
    audit = [json.loads(line) for line in (tmp_path / "run" / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
    refused = [(entry["site"], entry["phase"], entry["round"]) for entry in audit if entry["event"] == "update-refused"]
    assert refused == [("target-b", "adapt", 1), ("target-b", "adapt", 2)]
    assert _segmenter(tmp_path) == 1.0 + 2 * 5.5
