"""A federation that is killed at a named place and started again ends with the very same weights."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.site import AUDIT_LOG
from client.site_commits import begin_run
from diffuse_uda.errors import CheckpointError, ConfigError, InUseError, StorageError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.landmarks import Landmark, watched_by
from diffuse_uda.training.checkpoints import MANIFEST
from diffuse_uda.training.interruption import allow_local_work, raise_if_stopped
from diffuse_uda.types import Scalar
from server.ending import RunEnd, read_ending
from server.history import Event, RoundSaved
from server.journal import JOURNAL_FILE, read_journal
from simulations.engines.in_process import run_in_process
from tests import arithmetic_tasks
from tests.crashes import forgetful_disk, killed_process
from tests.fake_federation import node_configs, run_config, use_arithmetic
from tests.tiny_site import FLAT, tiny_cohort

COORDINATOR = list(Landmark)[:6]
SITE = list(Landmark)[7:]
FULL: dict[str, Any] = {"method": "diffuse-uda", "adapt.num-rounds": 2, "diffuse.num-rounds": 2}


def _weights(run_dir: Path) -> dict[str, str]:
    """Hash of every model of a finished run, by its place."""
    return {
        str(manifest.parent.relative_to(run_dir)): json.loads(manifest.read_text())["sha256"]
        for manifest in sorted(run_dir.rglob(MANIFEST))
    }


def _rounds(run_dir: Path) -> list[tuple[str, int]]:
    lines = (run_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [(record["phase"], record["server_round"]) for record in map(json.loads, lines)]


def _scores(run_dir: Path) -> dict[str, dict[str, dict[str, float]]]:
    rows = json.loads((run_dir / "evaluation.json").read_text())
    return {
        row: {name: {key: value for key, value in site.items() if key != "seconds"} for name, site in sites.items()}
        for row, sites in rows.items()
    }


def _events(run_dir: Path) -> list[str]:
    """What the journal says, once its chain has been checked."""
    return [entry["event"] for entry in read_journal(run_dir / JOURNAL_FILE)[0]]


def _require_no_partial_file(folder: Path) -> None:
    assert [path.name for path in folder.rglob("*") if path.name.startswith(".part-")] == []
    assert [path.name for path in folder.rglob("*.json") if path.stat().st_size == 0] == []


@pytest.fixture
def _arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_arithmetic(monkeypatch)
    yield
    allow_local_work()


def _sums(folder: Path, on_event: Callable[[Event], None] = lambda _event: None, **changes: Scalar) -> None:
    """A federation whose work is arithmetic: every round of it can be checked by hand, none takes long."""
    run_in_process(run_config(folder, **{**FULL, **changes}), node_configs(folder), on_event=on_event)


def _sums_alone(folder: Path) -> None:
    """The same in a process that nobody has prepared."""
    with pytest.MonkeyPatch.context() as patch:
        use_arithmetic(patch)
        _sums(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    _sums_alone(folder)
    return folder / "run"


@pytest.fixture
def undisturbed(whole: Path, _arithmetic: None) -> Path:
    """What the run leaves that nothing happens to; in this process work is arithmetic."""
    return whole


def _require_same_end(run_dir: Path, undisturbed: Path) -> None:
    assert _weights(run_dir) == _weights(undisturbed)
    assert _rounds(run_dir) == _rounds(undisturbed)
    assert _scores(run_dir) == _scores(undisturbed)
    assert _events(run_dir)[-1] == "finished"
    _require_no_partial_file(run_dir.parent)


@pytest.mark.parametrize("landmark", COORDINATOR)
@pytest.mark.fault("R-01")
def test_a_coordinator_killed_anywhere_ends_where_it_would_have(
    landmark: Landmark, tmp_path: Path, undisturbed: Path
) -> None:
    assert killed_process(landmark, 4, _sums_alone, tmp_path)
    run_dir = tmp_path / "run"
    assert "finished" not in _events(run_dir)
    _sums(tmp_path)
    assert _events(run_dir).count("resumed") == 1
    _require_same_end(run_dir, undisturbed)


@pytest.mark.fault("R-01")
def test_a_run_that_was_killed_when_all_was_done_is_not_done_again(tmp_path: Path, undisturbed: Path) -> None:
    assert killed_process(Landmark.BEFORE_END, 1, _sums_alone, tmp_path)
    run_dir = tmp_path / "run"
    assert _end(run_dir) is RunEnd.KILLED
    lines = len(_events(run_dir))
    _sums(tmp_path)
    assert _end(run_dir) is RunEnd.COMPLETED
    assert len(_events(run_dir)) == lines
    _require_same_end(run_dir, undisturbed)
    name = read_journal(run_dir / JOURNAL_FILE)[0][0]["run"]
    _sums(tmp_path)  # once it is completed, the same command begins a new run
    assert read_journal(run_dir / JOURNAL_FILE)[0][0]["run"] != name


def test_another_study_is_not_mistaken_for_one_that_was_killed_when_all_was_done(tmp_path: Path) -> None:
    assert killed_process(Landmark.BEFORE_END, 1, _sums_alone, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        use_arithmetic(patch)
        _sums(tmp_path, seed=1)
    assert read_journal(tmp_path / "run" / JOURNAL_FILE)[0][0]["description"]["config"]["seed"] == 1


def _end(run_dir: Path) -> RunEnd:
    ending = read_ending(run_dir)
    assert ending is not None
    return ending.end


def _lives(run_dir: Path, landmark: Landmark, work: Callable[..., object], *arguments: object) -> int:
    """Kill a run at the same landmark in one life after the other until it gets through; count the lives.

    Killed at the same place of the same round it would never get on: after a life without a committed round, the next
    one may pass the landmark once more.
    """
    num_lives, nth, committed = 1, 2, -1
    while killed_process(landmark, nth, work, *arguments):
        done = _events(run_dir).count("committed")
        nth = nth + 1 if done == committed else 2
        num_lives, committed = num_lives + 1, done
        assert num_lives < 100
    return num_lives


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("landmark", [*COORDINATOR, Landmark.MID_SITE_COMMIT, Landmark.UPLOAD])
@pytest.mark.fault("R-01", "R-02")
def test_a_coordinator_killed_in_every_round_ends_where_it_would_have(
    landmark: Landmark, tmp_path: Path, undisturbed: Path
) -> None:
    assert _lives(tmp_path / "run", landmark, _sums_alone, tmp_path) > 4
    _require_same_end(tmp_path / "run", undisturbed)


@pytest.mark.fault("R-01")
def test_sites_that_had_answered_are_not_made_to_work_again(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fourth reply of all is the first one of the second round of `adapt`: two sites are still asked.
    assert killed_process(Landmark.MID_GATHER, 7, _sums_alone, tmp_path)
    worked: list[tuple[str, str, int]] = []
    work = arithmetic_tasks.run_task

    def watch(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        worked.append((order.phase, site.site_id, order.server_round))
        return work(site, config, order, weights)

    monkeypatch.setattr(arithmetic_tasks, "run_task", watch)
    _sums(tmp_path)
    assert len(worked) == len(set(worked))
    asked = [entry for entry in read_journal(tmp_path / "run" / JOURNAL_FILE)[0] if entry["event"] == "planned"]
    resumed_round = asked[len([e for e in _events_until_resumed(tmp_path / "run") if e == "planned"])]
    place = (resumed_round["phase"], resumed_round["round"])
    again = {site for phase, site, number in worked if (phase, number) == place}
    assert len(again) < len(resumed_round["bases"])
    _require_same_end(tmp_path / "run", undisturbed)


def _events_until_resumed(run_dir: Path) -> list[str]:
    events = _events(run_dir)
    return events[: events.index("resumed")]


@pytest.mark.fault("R-18")
def test_a_flipped_bit_in_the_newest_checkpoint_costs_one_round(
    tmp_path: Path, undisturbed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_in_the_middle(event: Event) -> None:
        if isinstance(event, RoundSaved) and (event.phase, event.server_round) == ("adapt", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _sums(tmp_path, stop_in_the_middle)
    newest = _flip_a_bit_in_the_newest_checkpoint(tmp_path / "run")
    _sums(tmp_path)
    assert "is damaged" in caplog.text
    resumed = next(e for e in read_journal(tmp_path / "run" / JOURNAL_FILE)[0] if e["event"] == "resumed")
    assert resumed["number"] == newest - 1
    assert len(resumed["damaged"]) == 1
    _require_same_end(tmp_path / "run", undisturbed)


def _flip_a_bit_in_the_newest_checkpoint(run_dir: Path) -> int:
    """Damage it; which round's it was."""
    newest = max((run_dir / "checkpoints" / "rounds").iterdir())
    (file,) = newest.rglob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return int(newest.name)


def _sums_in_which_one_fails_at_first(folder: Path) -> None:
    """As `_sums_alone`; one target fails in the first round of adaptation."""
    work = arithmetic_tasks.run_task

    def failing(site: Any, config: Any, order: Any, weights: Any) -> SiteReply:
        if (site.site_id, order.phase, order.server_round) == ("target-b", "adapt", 1):
            raise RuntimeError
        return work(site, config, order, weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic_tasks, "run_task", failing)
        _sums_alone(folder)


@pytest.mark.fault("R-18")
def test_a_round_that_was_answered_is_answered_anew_when_the_coordinator_has_gone_back_behind_it(
    tmp_path: Path, undisturbed: Path
) -> None:
    """Sites refuse other weights for a round that they have answered; that must not strand a run that went back.

    The source has answered round 2 of adaptation, on the average of a round 1 that one target failed in. The checkpoint
    of round 1 is damaged, so round 1 is done again, this time with everybody, and round 2 comes with other weights.
    """
    assert killed_process(Landmark.MID_GATHER, 7, _sums_in_which_one_fails_at_first, tmp_path)
    entries, _ = read_journal(tmp_path / "run" / JOURNAL_FILE)
    assert (entries[-1]["site"], entries[-1]["phase"], entries[-1]["round"]) == ("source", "adapt", 2)
    assert _flip_a_bit_in_the_newest_checkpoint(tmp_path / "run") == 3
    _sums(tmp_path)
    lines = (tmp_path / "work" / "source" / AUDIT_LOG).read_text(encoding="utf-8").splitlines()
    sent = [entry for entry in map(json.loads, lines) if entry["event"] == "message-sent"]
    twice = [entry for entry in sent if (entry.get("phase"), entry.get("round")) == ("adapt", 2)]
    assert len({entry["base"] for entry in twice}) == len(twice) == 2
    _require_same_end(tmp_path / "run", undisturbed)


AROUND_COMMITS = (Landmark.MID_CHECKPOINT, Landmark.AFTER_COMMIT, Landmark.UPLOAD)


@pytest.mark.parametrize(
    "places",
    [
        [(landmark, 3) for landmark in AROUND_COMMITS],
        pytest.param(
            [(landmark, nth) for landmark in (*COORDINATOR, *SITE[-2:]) for nth in range(1, 6)],
            marks=[pytest.mark.chaos, pytest.mark.timeout(3600)],
        ),
    ],
    ids=["a few", "all"],
)
@pytest.mark.fault("R-20")
def test_power_lost_at_any_place_leaves_a_run_that_goes_on(
    places: list[tuple[Landmark, int]], tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing survives that was not flushed: neither content nor a name."""
    passed: dict[Landmark, int] = {}
    before = tmp_path / "before"
    before.mkdir()
    with forgetful_disk(monkeypatch) as disk:

        def lose_power(landmark: Landmark) -> None:
            passed[landmark] = passed.get(landmark, 0) + 1
            if (landmark, passed[landmark]) in places:
                disk.rebuild(before, tmp_path / f"{landmark}-{passed[landmark]}")

        with watched_by(lose_power):
            _sums(before)
    for landmark, nth in places:
        _sums(tmp_path / f"{landmark}-{nth}")
        _require_same_end(tmp_path / f"{landmark}-{nth}" / "run", undisturbed)


def test_another_study_in_the_folder_is_refused_unless_it_shall_replace_it(tmp_path: Path, undisturbed: Path) -> None:
    assert killed_process(Landmark.BEFORE_COMMIT, 3, _sums_alone, tmp_path)
    journal = (tmp_path / "run" / JOURNAL_FILE).read_bytes()
    with pytest.raises(ConfigError, match=r"unfinished after 2 rounds.*seed: 0 in that run, 1 now"):
        _sums(tmp_path, seed=1)
    fewer = node_configs(tmp_path)[1:]
    hasty = {"federation.join-timeout-s": 0.2}
    with pytest.raises(ConfigError, match=r"target-b: target with 3 training .* in that run, not there now"):
        run_in_process(run_config(tmp_path, **FULL, **hasty), fewer, on_event=lambda _event: None)
    assert (tmp_path / "run" / JOURNAL_FILE).read_bytes() == journal
    _sums(tmp_path, resume=False)
    assert "resumed" not in _events(tmp_path / "run")
    _require_same_end(tmp_path / "run", undisturbed)


def test_a_damaged_journal_is_refused(tmp_path: Path, undisturbed: Path) -> None:
    assert killed_process(Landmark.BEFORE_COMMIT, 3, _sums_alone, tmp_path)
    journal = tmp_path / "run" / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes().replace(b'"phase":"warm-up"', b'"phase":"warm-op"', 1))
    with pytest.raises(CheckpointError, match=r"journal\.jsonl, line 2 of"):
        _sums(tmp_path)


@pytest.mark.usefixtures("_arithmetic")
@pytest.mark.fault("R-19")
def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    refused: list[str] = []

    def start_another(event: Event) -> None:
        if not refused:

            def other() -> None:
                with pytest.raises(InUseError) as error:
                    _sums(tmp_path)
                refused.append(str(error.value))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

    _sums(tmp_path, start_another)
    assert f"is in use by process {os.getpid()}" in refused[0]
    assert _events(tmp_path / "run")[-1] == "finished"


@pytest.mark.fault("R-19")
def test_a_run_after_a_killed_one_takes_its_lock_over_with_a_word(
    tmp_path: Path, undisturbed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert killed_process(Landmark.AFTER_COMMIT, 1, _sums_alone, tmp_path)
    _sums(tmp_path)
    assert "its lock is taken over" in caplog.text
    _require_same_end(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.fault("R-05")
def test_a_disk_that_fails_pauses_the_run_and_then_ends_it_with_the_last_round_whole(
    number: int, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flush, pauses, aggregations = os.fsync, list[float](), list[Landmark]()

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    def break_the_disk(landmark: Landmark) -> None:
        aggregations.append(landmark)
        if aggregations.count(Landmark.MID_AGGREGATE) == 2:
            monkeypatch.setattr(os, "fsync", fail)

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    clock = [0.0]
    with monkeypatch.context() as patch:
        patch.setattr("diffuse_uda.data.storage.time.monotonic", lambda: clock[0])
        patch.setattr("server.run_record.written_patiently", _with_time(clock, wait))
        patch.setattr("server.round_checkpoints.written_patiently", _with_time(clock, wait))
        with watched_by(break_the_disk), pytest.raises(StorageError, match=os.strerror(number)):
            _sums(tmp_path)
    monkeypatch.setattr(os, "fsync", flush)
    assert sum(pauses) == 600.0
    assert caplog.text.count("waiting, and trying again for 600 s") == 1
    _sums(tmp_path)
    _require_same_end(tmp_path / "run", undisturbed)


def _with_time(clock: list[float], sleep: Callable[[float], None]) -> Callable[..., Any]:
    from diffuse_uda.data.storage import written_patiently  # noqa: PLC0415 - the function that the test replaces

    return lambda *args, **options: written_patiently(*args, **options, clock=lambda: clock[0], sleep=sleep)


@pytest.mark.fault("R-03")
def test_the_first_signal_waits_for_the_round_and_the_run_goes_on_from_there(
    tmp_path: Path, undisturbed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def terminate(landmark: Landmark) -> None:
        if landmark is Landmark.MID_GATHER and not caplog.text:
            signal.raise_signal(signal.SIGTERM)

    with watched_by(terminate), pytest.raises(KeyboardInterrupt):
        _sums(tmp_path)
    assert "stopping when this round is on the disk" in caplog.text
    assert _events(tmp_path / "run")[-2:] == ["committed", "stopped"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    _sums(tmp_path)
    _require_same_end(tmp_path / "run", undisturbed)


@pytest.mark.fault("R-03")
def test_the_second_signal_ends_the_run_within_seconds_and_spoils_nothing(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def endless(_site: Any, _config: Any, order: Any, _weights: Any) -> SiteReply:
        begun.set()
        while True:
            raise_if_stopped()
            time.sleep(0.01)

    def press_twice() -> None:
        begun.wait(20.0)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    with monkeypatch.context() as patch:
        patch.setattr(arithmetic_tasks, "run_task", endless)
        hand = threading.Thread(target=press_twice)
        hand.start()
        with pytest.raises(KeyboardInterrupt):
            _sums(tmp_path)
        hand.join()
    _sums(tmp_path)
    assert "resumed" in _events(tmp_path / "run")
    _require_same_end(tmp_path / "run", undisturbed)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny_cohort(tmp_path_factory.mktemp("crashes") / "cohort")


def _training(folder: Path, cohort: list[Path]) -> None:
    """Every phase of Diffuse-UDA, one round and two steps each, on scans of sixteen voxels."""
    flat: dict[str, Scalar] = {**FLAT, "method": "diffuse-uda", "num-passes": 1}
    flat |= {f"{phase}.num-rounds": 1 for phase in ("warm-up", "adapt", "recolour", "diffuse", "refine")}
    nodes: list[dict[str, Scalar]] = [
        {"site-id": role, "role": role, "data-dir": str(path), "workspace": str(folder / role)}
        for role, path in zip(("source", "target"), cohort, strict=True)
    ]
    run_in_process({**flat, "run-dir": str(folder / "run")}, nodes, on_event=lambda _event: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cohort: list[Path]) -> Path:
    logging.getLogger().setLevel(logging.WARNING)
    folder = tmp_path_factory.mktemp("trained")
    _training(folder, cohort)
    return folder / "run"


@pytest.mark.parametrize("landmark", SITE)
@pytest.mark.fault("R-02")
def test_sites_killed_anywhere_end_where_they_would_have(
    landmark: Landmark, tmp_path: Path, cohort: list[Path], trained: Path
) -> None:
    # A step of the refinement at the target, which has a teacher and optimisers to lose.
    nth = {Landmark.SEGMENTATION_STEP: 11, Landmark.DIFFUSION_STEP: 3, Landmark.MID_SITE_COMMIT: 7, Landmark.UPLOAD: 5}
    assert killed_process(landmark, nth.get(landmark, 1), _training, tmp_path, cohort)
    _training(tmp_path, cohort)
    _require_same_end(tmp_path / "run", trained)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("landmark", [place for place in Landmark if place is not Landmark.BEFORE_END])
@pytest.mark.fault("R-01", "R-02")
def test_a_federation_killed_again_and_again_ends_where_it_would_have(
    landmark: Landmark, tmp_path: Path, cohort: list[Path], trained: Path
) -> None:
    assert _lives(tmp_path / "run", landmark, _training, tmp_path, cohort) > 1
    _require_same_end(tmp_path / "run", trained)


@pytest.mark.fault("R-02")
def test_a_lost_site_workspace_is_refused_instead_of_replaced(
    tmp_path: Path, undisturbed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert killed_process(Landmark.AFTER_COMMIT, 4, _sums_alone, tmp_path)
    run = read_journal(tmp_path / "run" / JOURNAL_FILE)[0][0]["run"]
    shutil.rmtree(tmp_path / "work" / "source" / "commits")
    begin_run(tmp_path / "work" / "source", run)
    with pytest.raises(Exception, match=r"no usable reply from \['source'\]"):
        _sums(tmp_path)
    assert "the workspace ends at round 0" in caplog.text
