"""A site keeps what it has agreed to, run by run."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.run_book import RunBook, book_path, read_book, write_book
from diffuse_uda.errors import CheckpointError, RefusalError

BOOK = RunBook(
    plan="p",
    label_names=("background", "ball"),
    domains=("source", "leeds"),
    bases={"3": "b"},
    fall_backs=1,
    sent_bytes=7,
)


def test_a_book_is_found_again_and_every_run_has_its_own(tmp_path: Path) -> None:
    assert read_book(tmp_path, "r1") is None
    write_book(tmp_path, "r1", BOOK)
    assert read_book(tmp_path, "r1") == BOOK
    assert read_book(tmp_path, "r2") is None
    assert book_path(tmp_path, "r1").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("run", ["", "../r1", "a/b", "r1\n", ".r", "r" * 65, "ü"])
def test_a_run_s_name_is_no_path(tmp_path: Path, run: str) -> None:
    with pytest.raises(RefusalError) as caught:
        read_book(tmp_path, run)
    assert caught.value.rules == ("run-name",)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"plan": "p", "label_names": [], "domains": [], "bases": []}'])
def test_a_damaged_book_is_no_empty_book(tmp_path: Path, content: str) -> None:
    write_book(tmp_path, "r1", BOOK)
    book_path(tmp_path, "r1").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match="start the run anew"):
        read_book(tmp_path, "r1")
