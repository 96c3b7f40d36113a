"""A centre's folder and a site's workspace, each wrong in its own way; no verdict names a patient."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.doctor.data_folder import judge_data, look_at
from diffuse_uda.doctor.mounts import Mount
from diffuse_uda.doctor.verdict import Status
from diffuse_uda.doctor.workspace import (
    Lock,
    Writing,
    judge_file_system,
    judge_lock,
    judge_privacy,
    judge_writing,
    observe_lock,
    write_and_flush,
)
from diffuse_uda.types import SiteRole

PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL
PATIENT = "DOE_JANE_1931"
SOURCE, TARGET = SiteRole.SOURCE, SiteRole.TARGET


@pytest.fixture
def centre(tmp_path: Path) -> Path:
    """One labelled scan of 8 x 8 x 8 voxels of 2 mm, named after a patient."""
    root = tmp_path / "centre"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    description = {"channel_names": {"0": "T1w"}, "labels": {"background": 0, "brain": 1}, "numTraining": 1}
    (root / "dataset.json").write_text(json.dumps(description))
    voxels = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    affine_mm = np.diag([2.0, 2.0, 2.0, 1.0])
    image = Volume(voxels=voxels, affine_mm=affine_mm)
    save_volume(root / "imagesTr" / f"{PATIENT}_0000.nii.gz", image, dtype="float32")
    label_map = Volume(voxels=(voxels > 0.5).astype(np.uint8), affine_mm=affine_mm)
    save_volume(root / "labelsTr" / f"{PATIENT}.nii.gz", label_map, dtype="uint8")
    return root


def test_a_centre_in_order_passes_and_tells_its_size(centre: Path) -> None:
    look = look_at(centre, SOURCE)
    assert judge_data(look, SOURCE).status is PASS
    assert judge_data(look, SOURCE).found == f"{centre}: 1 training and 0 held-out scans"
    assert look.num_classes == 2
    assert look.working_voxels((4.0, 4.0, 4.0)) == 4**3  # 16 mm a side


def test_a_source_without_labels_fails_and_a_target_does_not(centre: Path) -> None:
    (centre / "labelsTr" / f"{PATIENT}.nii.gz").unlink()
    assert judge_data(look_at(centre, TARGET), TARGET).status is PASS
    line = judge_data(look_at(centre, SOURCE), SOURCE)
    assert line.status is FAIL
    assert "no-labels-at-source x1" in line.found
    assert f"diffuse-uda check {centre} --role source" in line.fix


def test_a_damaged_scan_fails_without_naming_it(centre: Path) -> None:
    scan = centre / "imagesTr" / f"{PATIENT}_0000.nii.gz"
    scan.write_bytes(scan.read_bytes()[:-20])
    look = look_at(centre, TARGET)
    line = judge_data(look, TARGET)
    assert line.status is FAIL
    assert "truncated-gzip x1" in line.found
    assert PATIENT not in str(line)
    assert look.working_voxels((4.0, 4.0, 4.0)) is None


def test_one_damaged_scan_of_several_would_only_be_quarantined(centre: Path) -> None:
    scan = centre / "imagesTr" / f"{PATIENT}_0000.nii.gz"
    for name in ("a", "b"):
        (centre / "imagesTr" / f"{name}_0000.nii.gz").write_bytes(scan.read_bytes())
    scan.write_bytes(b"")
    assert judge_data(look_at(centre, TARGET), TARGET).status is WARN


def test_what_is_only_odd_is_a_warning(centre: Path) -> None:
    (centre / "imagesTr" / f"{PATIENT}.txt").write_text("notes")
    line = judge_data(look_at(centre, TARGET), TARGET)
    assert line.status is WARN
    assert PATIENT not in str(line)


def test_files_that_may_not_be_read_are_counted(centre: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    line = judge_data(look_at(centre, SOURCE), SOURCE)
    assert line.status is FAIL
    assert "2 files that this account may not read" in line.found
    assert PATIENT not in str(line)


def test_a_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    look = look_at(tmp_path / "nowhere", TARGET)
    line = judge_data(look, TARGET)
    assert (line.status, look.num_classes) == (FAIL, None)
    assert "missing-folder x1" in line.found


def test_what_is_written_and_flushed_is_timed_and_nothing_stays(tmp_path: Path) -> None:
    writing = write_and_flush(tmp_path, iter([10.0, 10.25]).__next__)
    assert writing == Writing(error=None, took_s=0.25)
    assert list(tmp_path.iterdir()) == []
    line = judge_writing(tmp_path, writing)
    assert (line.status, line.found) == (PASS, f"{tmp_path}: written and flushed in 250 ms")


def test_a_slow_disk_is_a_warning(tmp_path: Path) -> None:
    assert judge_writing(tmp_path, Writing(error=None, took_s=1.5)).status is WARN


def test_a_disk_that_cannot_flush_fails_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ill(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", ill)
    writing = write_and_flush(tmp_path, lambda: 0.0)
    assert writing.error == "Input/output error"
    assert judge_writing(tmp_path, writing).status is FAIL
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_forgets_fails_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _path: b"something else")
    assert write_and_flush(tmp_path, lambda: 0.0).error == "what was read is not what was written"
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_not_there_fails_with_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    line = judge_writing(folder, write_and_flush(folder, lambda: 0.0))
    assert line.status is FAIL
    assert f"mkdir -p {folder}" in line.fix


@pytest.mark.parametrize(
    ("kind", "options", "status"),
    [
        ("ext4", {"rw"}, PASS),
        ("ext4", {"ro"}, FAIL),
        ("nfs4", {"rw"}, WARN),
        ("fuse.sshfs", {"rw"}, WARN),
        ("tmpfs", {"rw"}, WARN),
        ("overlay", {"rw"}, WARN),
    ],
)
def test_a_workspace_belongs_on_a_local_disk(kind: str, options: set[str], status: Status) -> None:
    mount = Mount(point=Path("/ws"), kind=kind, options=frozenset(options))
    assert judge_file_system(mount).status is status
    assert judge_file_system(None).status is WARN


@pytest.mark.parametrize(("mode", "status"), [(0o700, PASS), (0o750, WARN), (0o755, WARN), (0o777, FAIL)])
def test_prepared_scans_are_for_this_account_alone(tmp_path: Path, mode: int, status: Status) -> None:
    folder = tmp_path / "ws"
    folder.mkdir()
    folder.chmod(mode)
    assert judge_privacy(folder, tmp_path / "data").status is status


def test_a_workspace_inside_the_data_fails(tmp_path: Path) -> None:
    (tmp_path / "data" / "ws").mkdir(parents=True, mode=0o700)
    assert judge_privacy(tmp_path / "data" / "ws", tmp_path / "data").status is FAIL
    assert judge_privacy(tmp_path / "nowhere", None).status is FAIL


def test_a_run_at_work_is_named_and_not_disturbed(tmp_path: Path) -> None:
    assert observe_lock(tmp_path) is None
    with run_lock(tmp_path):
        lock = observe_lock(tmp_path)
        assert lock is not None
        assert lock.is_held
        line = judge_lock(lock)
        assert line.status is WARN
        assert f"process {os.getpid()} on {socket.gethostname()}" in line.found
        assert judge_lock(lock, here="another-machine").status is FAIL
    assert judge_lock(observe_lock(tmp_path)).status is PASS
    assert judge_lock(None).status is PASS


def test_two_doctors_do_not_take_each_other_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "run.lock").touch()
    with (tmp_path / "run.lock").open() as other_doctor:
        fcntl.flock(other_doctor, fcntl.LOCK_SH)
        assert observe_lock(tmp_path) == Lock(is_held=False, holder="", host="")


def test_a_run_that_was_killed_is_told_and_its_traces_stay(tmp_path: Path) -> None:
    file = tmp_path / "run.lock"
    file.write_text(json.dumps({"pid": 7, "host": "h", "since": "2026-01-01"}))
    assert observe_lock(tmp_path) == Lock(is_held=False, holder="process 7 on h since 2026-01-01", host="h")
    line = judge_lock(observe_lock(tmp_path))
    assert line.status is WARN
    assert "did not end properly" in line.found
    assert json.loads(file.read_text())["pid"] == 7
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert observe_lock(tmp_path) == Lock(is_held=True, holder="", host="")
        assert "left no name" in judge_lock(observe_lock(tmp_path)).found
