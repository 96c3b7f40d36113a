"""Verdicts from a page, checked like any other input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.errors import InputError
from diffuse_uda.review import verdicts as module
from diffuse_uda.review.site_report import MANIFEST, write_site_report
from diffuse_uda.review.verdicts import Choice, read_verdicts, write_accepted
from tests.review_cases import ellipsoid, six_cases, write_volume

Save = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = six_cases(tmp_path_factory.mktemp("review"))
    write_site_report(plan, None)
    return plan.out


@pytest.fixture
def save(folder: Path, tmp_path: Path) -> Save:
    """A file as the page saves it, with changes."""

    def save(**changes: Any) -> Path:
        said = {
            "kind": "diffuse-uda-verdicts",
            "schema": 1,
            "report": json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["report"],
            "saved": "2026-11-22T10:00:00.000Z",
            "verdicts": [
                {"case": "case1", "verdict": "accept", "at": "2026-11-22T09:00:00.000Z"},
                {"case": "case5", "verdict": "reject", "at": "2026-11-22T09:01:00.000Z"},
            ],
        }
        path = tmp_path / "verdicts.json"
        path.write_text(json.dumps({**said, **changes}), encoding="utf-8")
        return path

    return save


def test_verdicts_come_back_in_the_report_s_order(save: Save, folder: Path, tmp_path: Path) -> None:
    found = read_verdicts(save(), folder)
    assert {verdict.case_id: verdict.choice for verdict in found.given} == {
        "case5": Choice.REJECT,
        "case1": Choice.ACCEPT,
    }
    assert found.given[0].case_id == "case5"  # the more suspicious one
    assert set(found.open) == {"case0", "case2", "case3", "case4"}
    write_accepted(tmp_path / "accepted.txt", found)
    assert (tmp_path / "accepted.txt").read_text(encoding="utf-8") == "case1\n"
    assert (tmp_path / "accepted.txt").stat().st_mode & 0o77 == 0


def _one(**changes: object) -> list[dict[str, object]]:
    return [{"case": "case1", "verdict": "accept", "at": "2026-11-22T09:00:00.000Z", **changes}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "something"}, "kind 'something'"),
        ({"schema": 2}, "schema 2"),
        ({"extra": 1}, "extra"),
        ({"report": 5}, "no text as report"),
        ({"verdicts": {}}, "no list of verdicts"),
        ({"verdicts": ["case1"]}, "verdict 1"),
        ({"verdicts": _one(verdict="perhaps")}, "perhaps"),
        ({"verdicts": _one(at="yesterday")}, "yesterday"),
        ({"verdicts": _one(at="2026-11-22T09:00:00")}, "without a zone"),
        ({"verdicts": _one(case=1)}, "no text"),
        ({"verdicts": _one(note="hello")}, "verdict 1"),
        ({"verdicts": _one(case="case77")}, "doesn't have"),
        ({"verdicts": _one() + _one(verdict="reject")}, "2 verdicts"),
        ({"report": "0" * 16}, "other-report"),
    ],
)
def test_what_the_page_would_not_have_written_is_refused(
    save: Save, folder: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as refusal:
        read_verdicts(save(**changes), folder)
    assert words in str(refusal.value)


def test_foreign_words_cannot_move_a_terminal_s_cursor(save: Save, folder: Path) -> None:
    with pytest.raises(InputError) as refusal:
        read_verdicts(save(verdicts=_one(case="\x1b[2Jcase" + "x" * 500)), folder)
    assert "\x1b" not in str(refusal.value)
    assert "x" * 100 not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_such_file_is_refused(content: bytes, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match="verdicts-file"):
        read_verdicts(tmp_path / "x.json", folder)


def test_a_huge_file_is_not_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    (tmp_path / "x.json").write_bytes(b" " * 5001)
    with pytest.raises(InputError, match="5,001 bytes"):
        read_verdicts(tmp_path / "x.json", folder)


def test_a_missing_file_and_a_folder_without_a_report_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_verdicts(tmp_path / "nothing.json", folder)
    with pytest.raises(InputError, match="--report"):
        read_verdicts(tmp_path / "nothing.json", tmp_path)


def test_a_verdict_counts_for_the_bytes_that_were_looked_at(tmp_path: Path) -> None:
    plan = six_cases(tmp_path)
    write_site_report(plan, None)
    said = {
        "kind": "diffuse-uda-verdicts",
        "schema": 1,
        "report": json.loads((plan.out / MANIFEST).read_text(encoding="utf-8"))["report"],
        "saved": "2026-11-22T10:00:00.000Z",
        "verdicts": _one(),
    }
    (tmp_path / "v.json").write_text(json.dumps(said), encoding="utf-8")
    read_verdicts(tmp_path / "v.json", plan.out)
    assert plan.scans[1].prediction is not None
    write_volume(plan.scans[1].prediction, ellipsoid(0.5))
    with pytest.raises(InputError, match="segmentation-changed"):
        read_verdicts(tmp_path / "v.json", plan.out)
