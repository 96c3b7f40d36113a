"""A site carries out every order once, whatever happens in between."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from client.site_commits import begin_run, begin_with_state, carried_out_once
from client.site_state import SiteState
from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.errors import CheckpointError, InUseError, SiteTaskError, StorageError
from diffuse_uda.exchange.flower import encode_reply
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.landmarks import Landmark
from diffuse_uda.methods.phase import Task
from tests.crashes import forgetful_disk, killed_copy
from tests.tiny_site import order_for

RUN = "0123abcd"
ORDER = order_for(Task.ADAPT_TARGET)


class Site:
    """A site whose work is to add the round's number to what it remembers, and to send the sum."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.state = workspace, SiteState(workspace / "state")
        self.times_worked = 0

    def work(self, number: int) -> SiteReply:
        self.times_worked += 1
        total = self.remembered + number
        self.state.save_tensors("teacher", {"w": torch.tensor(total)})
        # Not in the order of the alphabet: the order is part of the message.
        weights = {"z": torch.tensor([total, total]), "a": torch.tensor(number)}
        return SiteReply(num_examples=number, metrics={"loss": 1 / 3, "seconds": time.monotonic()}, weights=weights)

    def asked(
        self,
        number: int,
        *,
        digest: str = "",
        after: int = 0,
        run: str = RUN,
        work: Callable[[], SiteReply] | None = None,
    ) -> SiteReply:
        order: WorkOrder = replace(ORDER, number=number, after=after)
        return carried_out_once(
            self.workspace, run, order, digest or f"order {number}", work or (lambda: self.work(number))
        )

    @property
    def remembered(self) -> float:
        kept = self.state.load_tensors("teacher")
        return 0.0 if kept is None else float(kept["w"])

    def commits(self, run: str = RUN) -> list[int]:
        return sorted(int(path.name) for path in (self.workspace / "commits" / run).iterdir())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    begin_run(tmp_path / "site", RUN)
    return Site(tmp_path / "site")


def _bytes(reply: SiteReply) -> list[object]:
    """Everything that would travel."""
    return [
        [name, [[key, getattr(value, "data", value)] for key, value in record.items()]]
        for name, record in encode_reply(reply).items()
    ]


def test_a_repeated_order_is_answered_with_the_same_bytes_at_once_and_changes_nothing(site: Site) -> None:
    site.asked(1)
    first = site.asked(2, after=1)
    before = {path: path.stat().st_mtime_ns for path in site.workspace.rglob("*") if path.is_file()}
    started = time.monotonic()
    again = site.asked(2, after=1)
    assert time.monotonic() - started < 1.0
    assert _bytes(again) == _bytes(first)
    assert list(again.weights or {}) == ["z", "a"]
    assert site.times_worked == 2
    assert site.remembered == 3.0
    after = {path: path.stat().st_mtime_ns for path in site.workspace.rglob("*") if path.is_file()}
    lock = site.workspace / "run.lock"
    assert {**after, lock: 0} == {**before, lock: 0}


def test_an_older_order_that_comes_again_is_answered_too_and_takes_nothing_back(site: Site) -> None:
    replies = [site.asked(number, after=number - 1) for number in (1, 2, 3)]
    assert _bytes(site.asked(2, after=1)) == _bytes(replies[1])
    assert _bytes(site.asked(1)) == _bytes(replies[0])
    assert (site.times_worked, site.commits()) == (3, [1, 2, 3])


def test_a_reply_without_a_model_is_kept_as_well(site: Site) -> None:
    reply = SiteReply(num_examples=4, metrics={"pairs": 2.0})
    site.asked(1, work=lambda: reply)
    assert site.asked(1, work=lambda: pytest.fail("worked again")) == reply


def test_work_that_was_cut_short_leaves_no_trace(site: Site) -> None:
    site.asked(1)

    def fail() -> SiteReply:
        site.work(100)
        site.state.save_tensors("synthetic", {"w": torch.zeros(1)})
        msg = "out of memory"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError):
        site.asked(2, after=1, work=fail)
    assert site.remembered == 101.0
    reply = site.asked(2, after=1)
    assert reply.weights is not None
    assert float(reply.weights["z"][0]) == 3.0
    assert site.remembered == 3.0
    assert site.state.load_tensors("synthetic") is None


@pytest.mark.parametrize("landmark", [Landmark.MID_SITE_COMMIT, Landmark.UPLOAD])
@pytest.mark.fault("R-02")
def test_a_site_that_is_killed_while_it_writes_its_work_down_ends_where_it_would_have(
    site: Site, landmark: Landmark
) -> None:
    site.asked(1)
    assert killed_copy(landmark, 1, lambda: site.asked(2, after=1))
    began_again = Site(site.workspace)
    reply = began_again.asked(2, after=1)
    assert reply.weights is not None
    assert float(reply.weights["z"][0]) == 3.0
    assert began_again.times_worked == (1 if landmark is Landmark.MID_SITE_COMMIT else 0)
    assert not list(site.workspace.rglob(".part-*"))


def test_prepared_cases_outlive_every_round(site: Site) -> None:
    (site.state.folder / "cases-train-1.safetensors").write_text("cases")
    site.asked(1)
    assert (site.state.folder / "cases-train-1.safetensors").read_text() == "cases"
    assert not list((site.workspace / "commits").rglob("cases-*"))


def test_the_coordinator_may_go_back_and_ask_for_something_else(site: Site) -> None:
    for number in (1, 2, 3):
        site.asked(number, after=number - 1)
    reply = site.asked(2, digest="another order 2", after=1)
    assert reply.weights is not None
    assert float(reply.weights["z"][0]) == 3.0
    assert site.commits() == [1, 2]
    assert site.asked(3, after=2).weights is not None
    assert site.remembered == 6.0


def test_commits_are_bounded_and_what_may_be_asked_again_is_among_them(site: Site) -> None:
    for number in range(1, 8):
        site.asked(number, after=number - 1)
    assert site.commits() == [5, 6, 7]
    # Rounds without a model cost next to nothing; they stay as long as the models around them.
    site.asked(8, after=7, work=lambda: SiteReply(num_examples=1))
    assert site.commits() == [5, 6, 7, 8]


def test_an_order_from_before_everything_that_is_kept_is_refused_and_harms_nothing(site: Site) -> None:
    for number in range(1, 8):
        site.asked(number, after=number - 1)
    with pytest.raises(SiteTaskError, match="round 2: this site has gone on to round 7 and keeps nothing from before"):
        site.asked(2, after=1)
    assert site.commits() == [5, 6, 7]
    assert site.asked(8, after=7).weights is not None


def test_a_site_that_lost_its_workspace_says_so_instead_of_beginning_from_nothing(site: Site) -> None:
    site.asked(1)
    site.asked(2, after=1)
    shutil.rmtree(site.workspace)
    with pytest.raises(SiteTaskError, match="run 0123abcd has not begun here, or its state is gone"):
        site.asked(3, after=2)
    begin_run(site.workspace, RUN)
    with pytest.raises(SiteTaskError, match="has this site's work of round 2, the workspace ends at round 0"):
        site.asked(3, after=2)


@pytest.mark.fault("attendance")
def test_a_site_that_was_absent_goes_on_from_what_it_has(site: Site) -> None:
    site.asked(1)
    site.asked(2, after=1)  # came too late, says the coordinator
    assert site.asked(9, after=1).weights is not None
    assert site.remembered == 12.0


@pytest.mark.fault("R-19")
def test_two_runs_in_one_workspace_do_not_harm_each_other(site: Site) -> None:
    site.asked(1)
    site.state.forget_run()
    begin_run(site.workspace, "other")
    assert site.asked(1, run="other").num_examples == 1
    assert site.remembered == 1.0
    site.asked(2, after=1)
    assert site.remembered == 3.0
    site.asked(2, run="other", after=1)
    assert site.remembered == 3.0


def test_the_oldest_of_three_runs_is_forgotten(site: Site) -> None:
    for place, run in enumerate(("b", "c")):
        os.utime(site.workspace / "commits" / (RUN if run == "b" else "b"), (place, place))
        begin_run(site.workspace, run)
    assert sorted(path.name for path in (site.workspace / "commits").iterdir()) == ["b", "c"]


def test_a_run_that_goes_on_finds_the_site_where_it_was(site: Site) -> None:
    site.asked(1)
    site.state.forget_run()  # as every introduction does
    (site.workspace / "evaluation" / "asc").mkdir(parents=True)
    (site.workspace / "evaluation" / "asc" / ".part-x.nii.gz").write_text("half a prediction")
    begin_run(site.workspace, RUN)
    assert site.remembered == 1.0
    assert not list(site.workspace.rglob(".part-*"))


def test_a_run_can_begin_with_what_another_one_has_left(site: Site) -> None:
    site.asked(1)
    begin_with_state(site.workspace, RUN)
    assert site.commits() == [0]
    site.asked(9)
    assert site.remembered == 10.0


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()  # the file has other names, which stay whole
    file.write_bytes(content)


@pytest.mark.parametrize("file", ["reply.safetensors", "commit.json"])
def test_a_damaged_reply_is_made_again(site: Site, file: str, caplog: pytest.LogCaptureFixture) -> None:
    site.asked(1)
    site.asked(2, after=1)
    _flip_a_bit(site.workspace / "commits" / RUN / "000002" / file)
    reply = site.asked(2, after=1)
    assert reply.weights is not None
    assert float(reply.weights["z"][0]) == 3.0
    assert "the round is done again" in caplog.text


def test_a_changed_number_in_a_commit_is_noticed(site: Site) -> None:
    site.asked(1)
    commit = site.workspace / "commits" / RUN / "000001" / "commit.json"
    text = commit.read_text()
    commit.write_text(text.replace('"num_examples": 1', '"num_examples": 9'))
    assert commit.read_text() != text
    assert site.asked(1).num_examples == 1
    assert site.times_worked == 2


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_state_is_said_and_nothing_is_built_on_it(
    site: Site, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.asked(1)
    file = site.workspace / "commits" / RUN / "000001" / "teacher.safetensors"
    if damage == "flipped":
        _flip_a_bit(file)
    else:
        file.unlink()
    begin_run(site.workspace, RUN)
    assert "its round can only be done again from the one before" in caplog.text
    with pytest.raises(CheckpointError, match=r"teacher\.safetensors (is damaged|cannot be read)"):
        site.asked(2, after=1)
    # The coordinator may still ask for the damaged round itself.
    assert site.asked(1, digest="another order 1").weights is not None


@pytest.mark.parametrize("run", ["", "../../etc", "a/b", "a" * 65, "-rf"])
def test_a_run_s_name_is_no_path(tmp_path: Path, run: str) -> None:
    with pytest.raises(SiteTaskError, match="wanted a name of letters"):
        begin_run(tmp_path, run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("R-19")
def test_a_second_process_in_the_workspace_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.site_commits.LOCK_PATIENCE_S", 0.0)
    told: list[str] = []

    def come_second() -> SiteReply:
        import threading  # noqa: PLC0415 - another thread stands for another process

        def ask() -> None:
            with pytest.raises(InUseError) as refused:
                site.asked(2)
            told.append(str(refused.value))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return SiteReply(num_examples=1)

    site.asked(1, work=come_second)
    assert f"is in use by process {os.getpid()}" in told[0]
    with run_lock(site.workspace):
        pass


@pytest.mark.fault("R-04")
def test_a_full_disk_ends_the_round_with_a_clear_line_and_the_last_commit_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.asked(1)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    reply = SiteReply(num_examples=1)
    with monkeypatch.context() as patch:
        patch.setattr("client.commit_files.STORAGE_PATIENCE_S", 0.0)
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot write .*000002: No space left on device"):
            site.asked(2, after=1, work=lambda: reply)
    assert site.asked(2, after=1).weights is not None
    assert site.remembered == 3.0


@pytest.mark.fault("R-20")
def test_a_loss_of_power_after_a_reply_has_left_loses_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with forgetful_disk(monkeypatch) as disk:
        begin_run(tmp_path / "site", RUN)
        site = Site(tmp_path / "site")
        first = [site.asked(number, after=number - 1) for number in (1, 2)][-1]
        disk.rebuild(tmp_path, tmp_path / "after")
    found = Site(tmp_path / "after" / "site")
    begin_run(found.workspace, RUN)
    assert _bytes(found.asked(2, after=1)) == _bytes(first)
    assert found.times_worked == 0
    assert found.remembered == 3.0
