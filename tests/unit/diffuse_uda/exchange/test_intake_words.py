"""What a site tells of its intake gate: known rules and salted names, and nothing that leads to a case."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from diffuse_uda.errors import Finding, InputError, SiteTaskError
from diffuse_uda.exchange.intake_words import MAX_TOLD, is_told, limited, told_case, told_findings
from diffuse_uda.exchange.rules import INPUT_RULES
from diffuse_uda.exchange.sealing import is_sealed, sealed

SALT, OTHER_SALT = bytes(range(32)), bytes(32)
NAME = "DOE_JANE"


def _finding(rule: str, case: str = NAME) -> Finding:
    return Finding(rule=rule, centre=NAME, case=case, file=f"/data/{NAME}", found=NAME, wanted=NAME, fix=NAME)


def test_a_case_is_told_by_a_name_that_needs_the_sites_salt() -> None:
    assert told_case(NAME, SALT) == hmac.new(SALT, NAME.encode(), hashlib.sha256).hexdigest()[:16]
    assert told_case(NAME, SALT) != told_case(NAME, OTHER_SALT)
    assert told_case(NAME, SALT) != told_case(NAME + "2", SALT)
    with pytest.raises(ValueError, match="a salt of 5 bytes"):
        told_case(NAME, b"short")


def test_findings_are_told_once_each_in_their_order_and_without_a_word_of_their_own() -> None:
    findings = [_finding("empty-file"), _finding("no-cases", "-"), _finding("empty-file")]
    assert told_findings(findings, SALT) == (f"empty-file {told_case(NAME, SALT)}", "no-cases")


@pytest.mark.parametrize(
    ("word", "good"),
    [
        ("empty-file", True),
        ("empty-file 0123456789abcdef", True),
        ("empty-file 0123456789ABCDEF", False),
        ("empty-file 0123456789abcde", False),
        ("empty-file 0123456789abcdef0", False),
        ("empty-file doe jane", False),
        (NAME, False),
        ("", False),
    ],
)
def test_only_known_rules_and_salted_names_are_words(word: str, *, good: bool) -> None:
    assert is_told(word, INPUT_RULES) == good
    assert limited([word]) == (word if good else "other")


def test_a_folder_of_broken_scans_is_summed_up() -> None:
    words = [f"empty-file {number:016x}" for number in range(MAX_TOLD + 1)]
    told = limited(words).split(", ")
    assert told == [*words[:MAX_TOLD], "other"]
    assert limited(words[:MAX_TOLD]).split(", ") == words[:MAX_TOLD]


def test_refused_input_leaves_the_site_as_rules_and_salted_names_that_the_server_knows_as_such() -> None:
    findings = [_finding("empty-file"), _finding("no-cases", "-")]
    with pytest.raises(SiteTaskError) as caught, sealed("query.introduce"):
        raise InputError(findings, told=told_findings(findings, SALT))
    words = str(caught.value)
    assert NAME not in words
    assert f"InputError [empty-file {told_case(NAME, SALT)}, no-cases]; the reason" in words
    assert is_sealed(words, "query.introduce")
    assert not is_sealed(words.replace(told_case(NAME, SALT), "doe jane"), "query.introduce")


def test_words_that_were_not_salted_are_not_told() -> None:
    with pytest.raises(SiteTaskError, match=r"InputError \[other\]") as caught, sealed("adapt"):
        raise InputError([_finding("empty-file")], told=[f"empty-file {NAME}"])
    assert NAME not in str(caught.value)
