"""A whole federation in one process, its numbers worked out by hand, and its faults survived."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message

from diffuse_uda.errors import ConfigError, QuorumError, SiteTaskError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.training.interruption import allow_local_work, raise_if_stopped
from server.history import Event, RoundFinished, RoundSaved, StudyFinished, StudyStarted
from server.start import keep_starting_point
from simulations.engines.in_process import run_in_process
from tests import arithmetic_tasks
from tests.arithmetic_tasks import ROUND_OF_ALL
from tests.fake_federation import node_configs, run_config, use_arithmetic


@pytest.fixture(autouse=True)
def _arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_arithmetic(monkeypatch)
    yield
    allow_local_work()


def _run(folder: Path, **overrides: Any) -> list[Event]:
    events: list[Event] = []
    options = {key: overrides.pop(key) for key in ("num_workers", "on_delivery", "on_return") if key in overrides}
    config = run_config(folder, **{key.replace("_", "-").replace("--", "."): overrides[key] for key in overrides})
    run_in_process(config, node_configs(folder), on_event=events.append, **options)
    return events


def _segmenter(folder: Path, where: str = "latest", name: str = "segmenter") -> float:
    weights, _ = load_checkpoint(folder / "run" / "checkpoints" / where / name)
    assert torch.equal(weights["weight"], weights["scale"].expand(2))
    return float(weights["scale"])


def test_asc_is_one_round_of_the_source_and_then_rounds_of_all(tmp_path: Path) -> None:
    events = _run(tmp_path, adapt__num_rounds=2)
    assert _segmenter(tmp_path, "warm-up") == 1.0
    assert _segmenter(tmp_path, "adapt") == _segmenter(tmp_path) == 1.0 + 2 * ROUND_OF_ALL
    weights, metadata = load_checkpoint(tmp_path / "run" / "checkpoints" / "latest" / "segmenter")
    assert weights["count"].item() == 3
    assert (metadata["phase"], metadata["server_round"], metadata["model"]) == ("adapt", 2, "segmenter")
    assert metadata["domains"] == ["source", "target-a", "target-b"]
    assert metadata["config"]["adapt.num-rounds"] == 2
    assert events[0] == StudyStarted(
        name="study", method="asc", site_ids=("source", "target-a", "target-b"), num_rounds=5
    )
    assert isinstance(events[-1], StudyFinished)
    assert sum(isinstance(event, RoundFinished) for event in events) == 5


def test_the_run_folder_tells_what_happened(tmp_path: Path) -> None:
    _run(tmp_path)
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["phase"] for line in lines] == ["warm-up", "evaluate-source-only", "adapt", "evaluate-asc"]
    assert lines[1]["row"] == "source-only"
    assert lines[2]["sites"]["target-b"]["share"] == 0.375
    scores = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert list(scores) == ["source-only", "asc"]
    assert scores["asc"]["target-a"] == {"state": "used", "num_examples": 5, "dice": 0.5, "dice/ball": 0.5}
    assert list(scores["asc"]) == ["target-a", "target-b"]
    federation = json.loads((run / "federation.json").read_text(encoding="utf-8"))
    assert [site["site_id"] for site in federation["sites"]] == ["source", "target-a", "target-b"]
    assert federation["label_names"] == ["background", "ball"]


def test_diffuse_uda_runs_every_phase_and_keeps_both_denoisers(tmp_path: Path) -> None:
    _run(tmp_path, method="diffuse-uda", diffuse__num_rounds=2, diffuse__server_ema_decay=0.5)
    checkpoints = tmp_path / "run" / "checkpoints"
    raw, _ = load_checkpoint(checkpoints / "latest" / "denoiser")
    mean, _ = load_checkpoint(checkpoints / "diffuse" / "denoiser-mean")
    assert raw["scale"].item() == 2 * ROUND_OF_ALL
    assert mean["scale"].item() == 1.5 * ROUND_OF_ALL
    # The source recolours alone, a round for each; then it and one target share a round in halves: 5.5 and 10.5.
    common = 1.0 + ROUND_OF_ALL
    assert _segmenter(tmp_path) == common
    assert _segmenter(tmp_path, "recolour-for-2", "segmenter-2") == common + 1
    assert _segmenter(tmp_path, "refine-for-1", "segmenter-1") == common + 1 + 5.5
    assert _segmenter(tmp_path, "refine-for-2", "segmenter-2") == common + 1 + 10.5
    own = {site: tmp_path / "run" / "segmenters" / site for site in ("target-a", "target-b")}
    assert {site: load_checkpoint(folder)[0]["scale"].item() for site, folder in own.items()} == {
        "target-a": common + 6.5,
        "target-b": common + 11.5,
    }


def test_a_second_run_in_the_folder_starts_its_own_record(tmp_path: Path) -> None:
    _run(tmp_path)
    _run(tmp_path)
    assert len((tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_a_run_that_goes_on_ends_where_the_whole_one_does(tmp_path: Path) -> None:
    full: dict[str, Any] = {"method": "diffuse-uda", "diffuse__num_rounds": 2, "diffuse__server_ema_decay": 0.5}
    whole = _run(tmp_path, **full)
    saved = [event for event in whole if isinstance(event, RoundSaved)]
    assert [event.phase for event in saved if event.ends_phase][:2] == ["warm-up", "evaluate-source-only"]
    record = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    places = [
        ("warm-up", "segmenter"),
        ("adapt", "segmenter"),
        ("latest", "segmenter"),
        ("refine-for-2", "segmenter-2"),
    ]
    expected = {place: _segmenter(tmp_path, *place) for place in places}

    # Keep what is there after the adaptation of a run that is stopped then.
    def stop_after_adapt(event: Event) -> None:
        if isinstance(event, RoundSaved) and event.phase == "adapt" and event.ends_phase:
            keep_starting_point(tmp_path / "run", tmp_path / "kept", "adapt")
            raise KeyboardInterrupt

    flat: dict[str, Any] = {"method": "diffuse-uda", "diffuse.num-rounds": 2, "diffuse.server-ema-decay": 0.5}
    config = run_config(tmp_path, **flat)
    with pytest.raises(KeyboardInterrupt):
        run_in_process(config, node_configs(tmp_path), on_event=stop_after_adapt)
    rest = _run(tmp_path, start_from=str(tmp_path / "kept"), **full)
    assert isinstance(rest[0], StudyStarted)
    assert rest[0].num_rounds == len(record) - 3  # warm-up, its evaluation, adapt
    assert {place: _segmenter(tmp_path, *place) for place in expected} == expected
    again = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["phase"] for line in again] == [json.loads(line)["phase"] for line in record]


def test_the_number_of_workers_does_not_change_the_weights(tmp_path: Path) -> None:
    results = []
    for num_workers in (1, 3):
        _run(tmp_path, num_workers=num_workers)
        results.append(_segmenter(tmp_path))
    assert results[0] == results[1]


def test_sites_work_at_the_same_time_and_each_on_one_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = threading.Barrier(3, timeout=5.0)
    work = arithmetic_tasks.run_task

    def together(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        if order.phase == "adapt":
            everybody.wait()
        return work(site, config, order, weights)

    monkeypatch.setattr(arithmetic_tasks, "run_task", together)
    _run(tmp_path, num_workers=3)
    assert _segmenter(tmp_path) == 1.0 + ROUND_OF_ALL


def test_a_site_that_fails_leaves_its_words_at_home_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = arithmetic_tasks.run_task

    def failing(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        if site.site_id == "target-b":
            msg = "/data/DOE_JANE/t1.nii.gz"
            raise FileNotFoundError(msg)
        return work(site, config, order, weights)

    monkeypatch.setattr(arithmetic_tasks, "run_task", failing)
    events = _run(tmp_path)
    assert _segmenter(tmp_path) == 1.0 + 5.5
    adapt = next(event.record for event in events if isinstance(event, RoundFinished) and event.record.phase == "adapt")
    assert adapt.sites["target-b"].reason == (
        "train.adapt_target failed: FileNotFoundError; the reason is in this site's log"
    )
    assert "DOE_JANE" in caplog.text
    assert all("JANE" not in path.read_text("latin-1") for path in (tmp_path / "run").rglob("*") if path.is_file())


def test_the_source_is_needed(tmp_path: Path) -> None:
    def broken(message: Message) -> None:
        if message.metadata.message_type == "train.adapt_source":
            raise RuntimeError

    with pytest.raises(QuorumError, match=r"phase adapt, round 1 of 1: no usable reply from \['source'\]"):
        _run(tmp_path, on_delivery=broken)
    assert _segmenter(tmp_path) == 1.0
    assert len((tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_a_straggler_is_given_up_and_its_late_reply_changes_nothing(tmp_path: Path) -> None:
    def slow(message: Message) -> None:
        if message.metadata.message_type == "train.adapt_target" and message.metadata.dst_node_id == 101:
            time.sleep(1.0)

    events = _run(tmp_path, on_delivery=slow, num_workers=3, federation__round_timeout_s=0.4)
    adapt = next(event.record for event in events if isinstance(event, RoundFinished) and event.record.phase == "adapt")
    assert {site_id: site.state.value for site_id, site in adapt.sites.items()} == {
        "source": "used",
        "target-a": "used",
        "target-b": "overdue",
    }
    assert _segmenter(tmp_path) == 1.0 + 5.5


def test_bad_input_stops_before_round_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(site: Any, config: Any) -> Any:
        raise ConfigError(site.site_id)

    monkeypatch.setattr(arithmetic_tasks, "introduce", refuse)
    with pytest.raises(SiteTaskError, match="3 of 3 sites cannot take part"):
        _run(tmp_path)
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_a_misspelt_key_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        _run(tmp_path, adapt__num_round=1)


def test_ctrl_c_ends_the_work_between_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = threading.Event()

    def endless(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        begun.set()
        while True:
            raise_if_stopped()
            time.sleep(0.01)

    def press_ctrl_c(seconds: float) -> None:
        if begun.is_set():
            raise KeyboardInterrupt
        time.sleep(seconds)

    monkeypatch.setattr(arithmetic_tasks, "run_task", endless)
    monkeypatch.setattr("server.server_app.Mail", _mail_with(press_ctrl_c))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path)
    assert time.monotonic() - started < 5.0
    assert "Traceback" not in caplog.text + capfd.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("site")]


def _mail_with(sleep: Any) -> Any:
    from server.mail import Mail  # noqa: PLC0415 - the class that the test replaces

    return lambda grid, **kwargs: Mail(grid, sleep=sleep, **kwargs)


@pytest.mark.parametrize(("num_workers", "is_shared"), [(1, False), (3, True)])
def test_sites_know_whether_they_share_the_machine(
    num_workers: int, *, is_shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[bool] = []
    introduce = arithmetic_tasks.introduce

    def watch(site: Any, config: Any) -> Any:
        shared.append(site.shares_machine)
        return introduce(site, config)

    monkeypatch.setattr(arithmetic_tasks, "introduce", watch)
    _run(tmp_path, num_workers=num_workers)
    assert shared == [is_shared] * 3
