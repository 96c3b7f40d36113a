"""Certificates: dates, names, key, chain; each wrong in its own way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from diffuse_uda.doctor.certificates import (
    fingerprint,
    is_fingerprint,
    judge_dates,
    judge_key_match,
    judge_names,
    read_certificates,
    same_fingerprint,
)
from diffuse_uda.doctor.keys import UnusableKey
from diffuse_uda.doctor.trust import chain_above, client_context, fix_of, judge_trust
from diffuse_uda.doctor.verdict import Status
from tests.papers import Paper

MakePaper = Callable[..., Paper]
PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL


@pytest.mark.parametrize(
    ("days_left", "status", "words"),
    [
        (365, PASS, "365 days"),
        (30, PASS, "30 days"),
        (29.9, WARN, "29 days"),
        (-0.1, FAIL, "expired on"),
        (367, FAIL, "not valid before"),
    ],
)
def test_a_certificate_is_valid_now_and_for_a_month(
    hub_paper: Paper, days_left: float, status: Status, words: str
) -> None:
    now = hub_paper.certificate.not_valid_after_utc - dt.timedelta(days=days_left)
    line = judge_dates("certificate", hub_paper.certificate, now)
    assert line.status is status
    assert words in line.found


def test_a_ca_that_ends_is_another_matter_than_a_hubs_certificate(hub_paper: Paper, ca: Paper) -> None:
    for paper, words in ((hub_paper, "sites notice nothing"), (ca, "every site needs it")):
        line = judge_dates("certificate", paper.certificate, paper.certificate.not_valid_after_utc)
        assert line.status is WARN
        assert words in line.fix


def test_names_are_alternative_names_and_a_wildcard_is_too_many(make_paper: MakePaper) -> None:
    plain = judge_names(make_paper(names=("hub.example.org",), addresses=("10.0.0.7",)).certificate)
    assert (plain.status, plain.found) == (PASS, "hub.example.org, 10.0.0.7")
    assert judge_names(make_paper(names=("*.example.org",)).certificate).status is WARN
    assert judge_names(make_paper(names=(), addresses=()).certificate).status is FAIL


def test_certificate_and_key_belong_together_or_not(hub_paper: Paper, make_paper: MakePaper) -> None:
    assert judge_key_match(hub_paper.certificate, hub_paper.private).status is PASS
    assert judge_key_match(hub_paper.certificate, make_paper().private).status is FAIL
    assert judge_key_match(hub_paper.certificate, UnusableKey(reason="garbage")).status is FAIL


def test_files_without_certificates_are_said_in_words(tmp_path: Path, hub_paper: Paper) -> None:
    assert read_certificates(tmp_path / "missing") == "cannot be read (No such file or directory)"
    assert read_certificates(hub_paper.key_file) == "holds no certificate in PEM form"
    assert read_certificates(hub_paper.file) == [hub_paper.certificate]


def test_fingerprints_are_compared_however_they_are_written(hub_paper: Paper, ca: Paper) -> None:
    told = fingerprint(hub_paper.certificate)
    assert len(told) == 32 * 2 + 31
    assert told == told.upper()
    for other in (told.lower(), told.replace(":", ""), f"SHA256:{told}", f" sha256={told.replace(':', ' ')} "):
        assert same_fingerprint(told, other)
        assert is_fingerprint(other)
    assert not same_fingerprint(told, fingerprint(ca.certificate))
    assert not is_fingerprint(told[:-1])
    assert not is_fingerprint("the one from last year")


def test_whoever_holds_the_ca_accepts_the_hub_under_its_names(hub_paper: Paper, ca: Paper) -> None:
    for host in ("localhost", "127.0.0.1", None):
        assert judge_trust(hub_paper.file, hub_paper.key_file, ca.file, host).status is PASS


@pytest.mark.parametrize(
    ("options", "host", "words"),
    [
        ({}, "hub.example.org", "Hostname mismatch"),
        ({}, "10.0.0.1", "IP address mismatch"),
        ({"first_day": -9, "last_day": -1}, "localhost", "expired"),
        ({"first_day": 1, "last_day": 9}, "localhost", "not yet valid"),
    ],
)
def test_a_wrong_name_or_time_is_refused_with_openssls_reason(
    make_paper: MakePaper, ca: Paper, options: dict[str, float], host: str, words: str
) -> None:
    paper = make_paper(**options)
    line = judge_trust(paper.file, paper.key_file, ca.file, host)
    assert line.status is FAIL
    assert words in line.found


def test_another_ca_is_refused(hub_paper: Paper, other_ca: Paper) -> None:
    line = judge_trust(hub_paper.file, hub_paper.key_file, other_ca.file, "localhost")
    assert line.status is FAIL
    assert "unable to get local issuer certificate" in line.found
    assert "telephone" in line.fix


def test_files_that_do_not_go_together_are_one_line(hub_paper: Paper, make_paper: MakePaper, ca: Paper) -> None:
    mismatch = judge_trust(hub_paper.file, make_paper().key_file, ca.file, None)
    assert "KEY_VALUES_MISMATCH" in mismatch.found
    no_ca = judge_trust(hub_paper.file, hub_paper.key_file, hub_paper.key_file, None)
    assert no_ca.status is FAIL
    assert "unusable together" in no_ca.found


def test_a_key_with_a_passphrase_does_not_ask_on_the_terminal(hub_paper: Paper, ca: Paper, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        hub_paper.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    assert judge_trust(hub_paper.file, locked, ca.file, None).status is FAIL


def test_the_chain_leads_to_the_ca_that_issued_and_to_no_other(hub_paper: Paper, ca: Paper, other_ca: Paper) -> None:
    known = [other_ca.certificate, ca.certificate]
    assert chain_above(hub_paper.certificate, known) == [hub_paper.certificate, ca.certificate]
    assert chain_above(hub_paper.certificate, [other_ca.certificate]) == [hub_paper.certificate]


def test_every_reason_of_openssl_has_a_way_out() -> None:
    assert "clock" in fix_of(10)
    assert "alternative name" in fix_of(62)
    assert "another CA" in fix_of(20)


def test_without_a_ca_this_machines_own_list_is_believed() -> None:
    assert client_context(None).check_hostname
