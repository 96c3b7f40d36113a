"""A file is the old one or the whole new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffuse_uda.data.atomic import replaced_atomically


def test_new_content_appears_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with replaced_atomically(path) as part:
        part.write_bytes(b"new")
        assert not path.exists()
        assert part.name.endswith("weights.bin")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replaced_atomically(path) as part:
            part.write_bytes(b"ne")
            msg = "disk full"
            raise OSError(msg)

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_private_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    with replaced_atomically(tmp_path / "cache", mode=0o600) as part:
        part.write_bytes(b"scan")
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o600
