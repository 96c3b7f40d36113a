"""A second name for every file, at no cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffuse_uda.data.links import link_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "file").write_text("content")
    return tmp_path / "a"


def test_files_are_shared_and_folders_are_not(tree: Path, tmp_path: Path) -> None:
    link_tree(tree, tmp_path / "b")
    linked = tmp_path / "b" / "deep" / "file"
    assert linked.samefile(tree / "deep" / "file")
    (tmp_path / "b" / "deep" / "other").write_text("")
    assert not (tree / "deep" / "other").exists()


def test_a_second_file_of_the_same_name_is_refused(tree: Path, tmp_path: Path) -> None:
    link_tree(tree, tmp_path / "b")
    with pytest.raises(Exception, match="File exists"):
        link_tree(tree, tmp_path / "b")


def test_where_links_are_impossible_everything_is_copied(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_paths: str) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr("os.link", impossible)
    link_tree(tree, tmp_path / "b")
    copied = tmp_path / "b" / "deep" / "file"
    assert copied.read_text() == "content"
    assert not copied.samefile(tree / "deep" / "file")
