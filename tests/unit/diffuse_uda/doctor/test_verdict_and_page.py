"""The page: the worst status decides, everything is ASCII, nothing that passed takes more room than it needs."""

from __future__ import annotations

import json

import pytest

from diffuse_uda.doctor.page import NARROWEST, WIDTH, page_json, page_text
from diffuse_uda.doctor.verdict import Status, Verdict, failed, overall, passed, warned

GOOD = passed("disk", "50 GiB free", "4 GiB or more")
ODD = warned("clock", "70 s ahead", "less than 60 s", "synchronise it")
BAD = failed("hub", "refused", "an answer", "start it")


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [([], Status.PASS), ([GOOD], Status.PASS), ([GOOD, ODD], Status.WARN), ([BAD, ODD, GOOD], Status.FAIL)],
)
def test_the_worst_verdict_is_the_overall_one(verdicts: list[Verdict], worst: Status) -> None:
    assert overall(verdicts) is worst


def test_what_passed_takes_one_line_and_the_rest_says_what_was_wanted_and_what_to_do() -> None:
    assert page_text([GOOD, ODD, BAD]).splitlines() == [
        "PASS  disk   50 GiB free",
        "WARN  clock  70 s ahead",
        "             wanted: less than 60 s",
        "             fix:    synchronise it",
        "FAIL  hub    refused",
        "             wanted: an answer",
        "             fix:    start it",
        "",
        "FAIL: 1 FAIL, 1 WARN, 1 PASS",
    ]


def test_what_nobody_looked_at_is_not_passed_over_in_silence() -> None:
    page = page_text([GOOD], ["data folder (--data)", "keys (--key)"])
    assert page.splitlines()[-2:] == [
        "not looked at: data folder (--data), keys (--key)",
        "PASS: 0 FAIL, 0 WARN, 1 PASS",
    ]
    assert json.loads(page_json([GOOD], ["keys (--key)"]))["left-out"] == ["keys (--key)"]


@pytest.mark.parametrize(("terminal", "longest"), [(80, 80), (118, 118), (10, NARROWEST), (300, WIDTH)])
def test_a_page_is_as_wide_as_the_terminal_within_reason(terminal: int, longest: int) -> None:
    page = page_text([failed("hub", "word " * 60, "word " * 60, "word " * 60)], ["word " * 60], width=terminal)
    assert longest - len("word ") < max(map(len, page.splitlines())) <= longest


def test_long_lines_are_wrapped_but_a_fingerprint_is_never_cut() -> None:
    fingerprint = ":".join(["AB"] * 32)
    lines = page_text([failed("federation", f"{'word ' * 30}{fingerprint}", "-", "-")]).splitlines()
    assert all(len(line) <= WIDTH for line in lines)
    assert any(fingerprint in line for line in lines)


def test_an_option_is_never_cut_at_its_hyphens() -> None:
    for padding in range(60, 110):
        page = page_text([passed("hub", f"{'x' * padding} --expected-fingerprint", "-")])
        assert "--expected-fingerprint" in page


def test_a_terminal_without_unicode_can_show_the_page() -> None:
    assert page_text([passed("gpu", "Größe", "-")]).splitlines()[0] == "PASS  gpu  Gr\\xf6\\xdfe"


def test_an_empty_page_says_that_nothing_was_looked_at() -> None:
    assert page_text([]) == "\nPASS: 0 FAIL, 0 WARN, 0 PASS"


def test_a_verdict_without_words_is_still_a_line() -> None:
    assert page_text([passed("gpu", "", "-")]).splitlines()[0] == "PASS  gpu"


def test_json_holds_the_same() -> None:
    told = json.loads(page_json([GOOD, ODD]))
    assert told["status"] == "WARN"
    assert told["checks"][1] == {
        "check": "clock",
        "status": "WARN",
        "found": "70 s ahead",
        "wanted": "less than 60 s",
        "fix": "synchronise it",
    }
