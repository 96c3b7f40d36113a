"""The table of the intake gate's rules: whole, of one form, and the page in `docs` is made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffuse_uda.data.rules import GROUPS, RULES, Reaction, reaction_to
from diffuse_uda.data.rules.page import rules_page
from diffuse_uda.data.rules.remarks import REMARKS

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = {
    Reaction.CASE: "F02 F03 F04 F05 F07 F08 F10 F11 F12 F13 F20 G01 G02 G03 G04 G05 G06 G10 G11 G13 G14 G16 G19 "
    "I01 I02 I03 I04 I07 I18 L01 L02 L03 L13 C06",
    Reaction.RUN: "F17 I15 L06 L15 C01 C05 C13",
    Reaction.WARN: "G07 G18 G21 G22 G23 I10 I13 I16 I17 L07 L14 L16 C03",
    Reaction.NOTE: "G09 I09",
    Reaction.PAUSE: "F18 F19",
}
"""Rows that have one reaction."""
SEVERAL = "F01 F14 F15 I11 I12 L05 L08 L09 C07"
"""Rows of several rules, each with its own."""
WITHOUT_RULE = "F21 G12 G20 I06 L03 L08 L11 L12 L17 L18 C02 C08 C09 C10 C12 C14"


def test_the_page_in_docs_is_the_table() -> None:
    page = (ROOT / "docs" / "intake-rules.md").read_text(encoding="utf-8")
    assert page == rules_page(), "make docs"


@pytest.mark.parametrize("reaction", CATALOGUE)
def test_every_row_of_the_catalogue_has_the_reaction_that_it_asks_for(reaction: Reaction) -> None:
    for code in CATALOGUE[reaction].split():
        rules = [rule for rule in RULES.values() if rule.code == code]
        assert rules, code
        assert {rule.reaction for rule in rules} == {reaction}, code


def test_rows_of_several_rules_and_rows_without_any_are_in_the_table() -> None:
    assert set(SEVERAL.split()) <= {rule.code for rule in RULES.values()}
    assert {remark.code for remark in REMARKS} == set(WITHOUT_RULE.split())


def test_slugs_are_unique_and_can_be_told_from_everything_else() -> None:
    slugs = [rule.slug for rules in GROUPS.values() for rule in rules]
    assert len(slugs) == len(set(slugs)) == len(RULES)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) for slug in slugs)
    assert all(re.fullmatch(r"[FGILCN]\d\d", rule.code) for rule in RULES.values() if not rule.slug.startswith("dicom"))
    assert all(rule.wanted and rule.fix for rule in RULES.values())


def test_a_rule_that_nobody_has_judged_refuses() -> None:
    assert reaction_to("never-heard-of") is Reaction.RUN
