"""An error's kind leaves the site, its words do not."""

from __future__ import annotations

import logging

import pytest

from diffuse_uda.errors import ExchangeError, Finding, InputError, RefusalError, SiteTaskError
from diffuse_uda.exchange.sealing import is_sealed, sealed

NAME = "DOE_JANE"


def _said(error: BaseException) -> str:
    with pytest.raises(SiteTaskError) as caught, sealed("adapt"):
        raise error
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "no such file", f"/data/{NAME}/t1.nii.gz"), "FileNotFoundError"),
        (ValueError(NAME), "ValueError"),
        (ExchangeError(NAME), "ExchangeError"),
        (type(NAME, (KeyError,), {})(NAME), "KeyError"),
        (type(NAME, (Exception,), {"__module__": "builtins"})(NAME), "Exception"),
        (type("ValueError", (OSError,), {})(NAME), "OSError"),
    ],
)
def test_only_the_public_kind_of_an_error_is_told(error: Exception, kind: str) -> None:
    assert _said(error) == f"adapt failed: {kind}; the reason is in this site's log"


def test_refused_input_is_told_by_rule_alone() -> None:
    broken = [("label-outside-map", NAME), (f"{NAME} has no scan", NAME), ("label-outside-map", "again")]
    findings = [Finding(rule=rule, centre=where, found=NAME, wanted=NAME, fix=NAME) for rule, where in broken]
    assert _said(InputError(findings)) == (
        "adapt failed: InputError [label-outside-map, other]; the reason is in this site's log"
    )


def test_the_site_s_own_log_has_all_words(caplog: pytest.LogCaptureFixture) -> None:
    _said(ValueError(NAME))
    finding = Finding(rule="empty", centre="leeds", found="nothing", wanted="scans", fix="add some")
    _said(InputError([finding]))
    words = caplog.text
    assert f"ValueError: {NAME}" in words
    assert "wanted: scans" in words
    assert all(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_requests_to_stop_pass(signal: type[BaseException]) -> None:
    with pytest.raises(signal), sealed("adapt"):
        raise signal


def test_good_work_is_left_alone() -> None:
    with sealed("adapt"):
        result = 2
    assert result == 2


SAID = "train.adapt_target failed: RefusalError [small-group, too-many-digits]; the reason is in this site's log"


@pytest.mark.parametrize(
    ("words", "good"),
    [
        (SAID, True),
        (SAID.replace(" [small-group, too-many-digits]", ""), True),
        (SAID.replace("small-group", "other"), True),
        (SAID.replace("small-group", "doe-jane"), False),
        (SAID.replace("RefusalError", "DoeJane"), False),
        (SAID.replace("train.adapt_target", "train.evaluate"), False),
        (SAID + " DOE_JANE", False),
        ("DOE_JANE " + SAID, False),
        (SAID.replace("this site's log", "/data/DOE_JANE"), False),
        ("", False),
    ],
)
def test_words_of_another_kind_are_told_from_sealed_ones(words: str, *, good: bool) -> None:
    assert is_sealed(words, "train.adapt_target") == good


def test_whatever_is_sealed_is_known_as_such() -> None:
    refusal = RefusalError("x", [("no-number", "x"), (NAME, "x")])
    for error in (OSError("x"), type(NAME, (ValueError,), {})("x"), refusal):
        with pytest.raises(SiteTaskError) as caught, sealed("train.evaluate"):
            raise error
        assert is_sealed(str(caught.value), "train.evaluate")
