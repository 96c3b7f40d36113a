from pathlib import Path

import pytest

from client.bundle_approval import approve, read_approved, refusal
from diffuse_uda.errors import ConfigError

A, B = "a" * 64, "b" * 64


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    path = tmp_path / "approved.txt"
    path.write_text(f"# the hospital's list\n\n{A}  # read by Jo\n", encoding="ascii")
    path.chmod(0o644)
    return path


def test_what_is_listed_runs_and_nothing_else(listed: Path) -> None:
    assert refusal(A, listed) == ""
    assert "it is not on the list" in refusal(B, listed)
    assert f"--add-to {listed}" in refusal(B, listed)
    assert "it is not on the list" in refusal(A[:-1], listed)
    assert "it is not on the list" in refusal("", listed)


def test_the_list_is_read_anew_so_that_approving_and_revoking_need_no_restart(listed: Path) -> None:
    assert approve(B, listed, note="second\nversion")
    assert refusal(B, listed) == ""
    assert read_approved(listed) == {A: "read by Jo", B: "second version"}
    listed.write_text(f"{B}\n", encoding="ascii")
    assert refusal(A, listed) != ""


def test_approving_twice_changes_nothing(listed: Path) -> None:
    before = listed.read_bytes()
    assert not approve(A, listed, note="again")
    assert listed.read_bytes() == before


def test_approving_makes_the_list_and_minds_a_missing_line_end(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    assert approve(A, path, note="first")
    path.write_text(A, encoding="ascii")
    assert approve(B, path, note="")
    assert set(read_approved(path)) == {A, B}


def test_a_missing_list_approves_nothing(tmp_path: Path) -> None:
    assert "cannot read" in refusal(A, tmp_path / "nowhere.txt")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_list_that_others_may_write_approves_nothing(listed: Path, mode: int) -> None:
    listed.chmod(mode)
    assert f"mode {mode:04o}" in refusal(A, listed)


def test_a_list_in_a_folder_that_others_may_write_approves_nothing(listed: Path) -> None:
    listed.parent.chmod(0o777)
    assert "decides which code runs here" in refusal(A, listed)
    listed.parent.chmod(0o1777)  # as /tmp: nobody replaces another's file there
    assert refusal(A, listed) == ""


@pytest.mark.parametrize("line", [A.upper(), A[:-1], f"{A} {B}", "sha256:" + A])
def test_a_line_that_means_nothing_approves_nothing(listed: Path, line: str) -> None:
    listed.write_text(f"{A}\n{line}\n", encoding="ascii")
    assert "line 2: found" in refusal(A, listed)
    with pytest.raises(ConfigError, match="64 hex digits"):
        read_approved(listed)


def test_bytes_that_are_no_text_approve_nothing(listed: Path) -> None:
    listed.write_bytes(b"\xff\xfe")
    assert "cannot be used" in refusal(A, listed)
