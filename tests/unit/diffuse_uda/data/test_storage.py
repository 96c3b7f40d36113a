"""A disk that is full or ill: one line, patience, a clear end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from diffuse_uda.data.storage import STORAGE_ERRORS, describe_storage_error, written_patiently
from diffuse_uda.errors import StorageError


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


class Disk:
    """Refuses the first few times."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times = number, times

    def write(self) -> str:
        if self.times > 0:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        return "written"


def test_the_message_names_path_cause_free_and_needed(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    text = describe_storage_error(error, tmp_path / "new" / "model.bin", needed_bytes=2_500_000)
    assert text.startswith(f"cannot write {tmp_path}/new/model.bin: No space left on device; ")
    assert f" MB free in {tmp_path}, 2.5 MB needed" in text
    assert "needed" not in describe_storage_error(error, tmp_path)


def test_free_space_that_nobody_knows_is_said_to_be_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, "x")

    monkeypatch.setattr("shutil.disk_usage", fail)
    assert "free space unknown" in describe_storage_error(OSError(), tmp_path)


@pytest.mark.parametrize("number", sorted(STORAGE_ERRORS))
def test_a_disk_that_recovers_is_waited_for_with_growing_pauses_and_one_line(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    disk = Disk(number, times=3)
    assert written_patiently(disk.write, Path("x"), patience_s=100.0, clock=clock, sleep=clock.sleep) == "written"
    assert clock.pauses == [1.0, 2.0, 4.0]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "trying again for 100 s" in caplog.text


def test_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with pytest.raises(StorageError, match=r"cannot write x: Input/output error; .* gave up after 200 s"):
        written_patiently(Disk(errno.EIO, times=99).write, Path("x"), patience_s=200.0, clock=clock, sleep=clock.sleep)
    assert clock.pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 17.0]  # 200 s in all
    assert len(caplog.records) == 1


def test_what_is_not_the_disk_s_fault_is_raised_at_once() -> None:
    with pytest.raises(IsADirectoryError):
        written_patiently(Disk(errno.EISDIR, times=1).write, Path("x"), patience_s=100.0)
