from pathlib import Path

import pytest

from diffuse_uda.deployment.state_folder import (
    clear_leftovers,
    keep_secret,
    make_private_folder,
    read_secret,
)
from diffuse_uda.errors import ConfigError


def test_a_new_folder_is_for_this_account_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    make_private_folder(folder)
    make_private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(ConfigError, match="mode 0750; wanted owner"):
        make_private_folder(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="ascii")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        make_private_folder(tmp_path / "file" / "state")


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = keep_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(secret)) == 32
    assert keep_secret(path) == secret == read_secret(path)
    assert keep_secret(tmp_path / "other") != secret


def test_a_secret_that_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    keep_secret(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"mode 0640; wanted 0600"):
        keep_secret(path)


@pytest.mark.parametrize("content", ["", "abc", "g" * 64])
def test_a_secret_that_was_cut_or_typed_by_hand_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content, encoding="ascii")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="wanted 64 hex digits"):
        keep_secret(path)


def test_a_missing_secret_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the secret"):
        read_secret(tmp_path / "secret")


def test_leftovers_of_killed_tasks_go_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "task-1" / "apps").mkdir(parents=True)
    (tmp_path / "apps").mkdir()
    clear_leftovers(tmp_path, "task-")
    assert [path.name for path in tmp_path.iterdir()] == ["apps"]
