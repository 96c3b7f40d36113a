"""Who answers at the hub's address, over real sockets on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from diffuse_uda.doctor import hub
from diffuse_uda.doctor.address import Address, parse_address
from diffuse_uda.doctor.certificates import fingerprint
from diffuse_uda.doctor.clock import Clocks, judge_skew
from diffuse_uda.doctor.hub import HubAnswer, Obstacle, call_hub
from diffuse_uda.doctor.hub_verdicts import Expected, judge_federation, judge_health, judge_reachable, judge_tls
from diffuse_uda.doctor.verdict import Status
from diffuse_uda.errors import ConfigError
from tests.papers import Paper

MakePaper = Callable[..., Paper]
StartHub = Callable[..., Address]
PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL


def call(address: Address, ca: Paper | None, timeout_s: float = 5.0) -> HubAnswer:
    return call_hub(address, None if ca is None else ca.file, clocks=Clocks(), timeout_s=timeout_s)


def test_a_hub_that_is_well_passes_everything(start_hub: StartHub, hub_paper: Paper, ca: Paper) -> None:
    address = start_hub(hub_paper)
    answer = call(address, ca)
    assert answer.obstacle is None
    assert answer.certificate == hub_paper.certificate
    expected = Expected(fingerprint=fingerprint(ca.certificate), federation="brains")
    lines = [
        judge_reachable(address, answer),
        judge_tls(address, answer, has_ca=True),
        judge_federation(answer, [ca.certificate], expected),
        judge_health(answer),
        judge_skew(answer.hub_s, answer.here_s),
    ]
    assert [line.status for line in lines] == [PASS] * 5


@pytest.mark.parametrize(("ahead_s", "status"), [(0, PASS), (40, WARN), (-40, WARN), (600, FAIL), (-600, FAIL)])
def test_the_hubs_clock_is_read_from_its_answer(
    start_hub: StartHub, hub_paper: Paper, ca: Paper, ahead_s: float, status: Status
) -> None:
    answer = call(start_hub(hub_paper, ahead_s=ahead_s), ca)
    assert judge_skew(answer.hub_s, answer.here_s).status is status


def test_this_machines_clock_is_injected(start_hub: StartHub, hub_paper: Paper, ca: Paper) -> None:
    answer = call_hub(
        start_hub(hub_paper),
        ca.file,
        clocks=Clocks(wall_s=lambda: 1000.0, monotonic_s=iter([10.0, 13.0]).__next__),
        timeout_s=5.0,
    )
    assert (answer.here_s, answer.took_s) == (1000.0, 3.0)
    assert "behind" in judge_skew(answer.hub_s, answer.here_s).found
    assert judge_health(answer).status is WARN  # three seconds are slow


@pytest.mark.fault("R-12")
def test_another_federations_hub_is_not_believed_and_its_fingerprint_is_shown(
    start_hub: StartHub, hub_paper: Paper, other_ca: Paper
) -> None:
    address = start_hub(hub_paper)
    line = judge_tls(address, call(address, other_ca), has_ca=True)
    assert line.status is FAIL
    assert fingerprint(hub_paper.certificate) in line.found
    assert "another federation" in line.fix


def test_an_impostor_that_is_gone_again_shows_no_fingerprint(
    start_hub: StartHub, hub_paper: Paper, other_ca: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = start_hub(hub_paper)
    monkeypatch.setattr(hub, "_whoever_answers", lambda *_: None)
    line = judge_tls(address, call(address, other_ca), has_ca=True)
    assert line.status is FAIL
    assert "SHA-256" not in line.found


def test_nobody_shows_a_certificate_where_nobody_listens(closed_port: int) -> None:
    assert hub._whoever_answers(Address(host="127.0.0.1", port=closed_port), 1.0) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"first_day": -9, "last_day": -1}, "certificate has expired"),
        ({"first_day": 2, "last_day": 9}, "certificate is not yet valid"),
        ({"addresses": ("10.1.2.3",)}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
)
def test_a_certificate_of_the_wrong_time_or_name_fails(
    start_hub: StartHub, make_paper: MakePaper, ca: Paper, options: dict[str, object], words: str
) -> None:
    address = start_hub(make_paper(**options))
    answer = call(address, ca)
    assert answer.obstacle is Obstacle.NOT_BELIEVED
    assert words in judge_tls(address, answer, has_ca=True).found


@pytest.mark.fault("R-12")
def test_the_same_ca_with_another_federations_hub_is_told_by_name_and_fingerprint(
    start_hub: StartHub, hub_paper: Paper, ca: Paper, other_ca: Paper
) -> None:
    answer = call(start_hub(hub_paper, federation="hearts"), ca)
    line = judge_federation(answer, [ca.certificate], Expected(federation="brains"))
    assert line.status is FAIL
    assert "expected the name brains" in line.found
    wanted = fingerprint(other_ca.certificate)
    line = judge_federation(answer, [ca.certificate], Expected(fingerprint=wanted))
    assert line.status is FAIL
    for shown in (fingerprint(hub_paper.certificate), fingerprint(ca.certificate), wanted):
        assert shown in line.found


def test_the_hubs_own_fingerprint_does_as_well_as_the_cas(start_hub: StartHub, hub_paper: Paper, ca: Paper) -> None:
    answer = call(start_hub(hub_paper, federation=None), ca)
    told = Expected(fingerprint=fingerprint(hub_paper.certificate).lower())
    assert judge_federation(answer, [ca.certificate], told).status is PASS
    assert judge_federation(answer, [ca.certificate], Expected()).status is WARN
    assert "64 hex digits" in judge_federation(answer, [], Expected(fingerprint="ab:cd")).found
    # a hub that gives no name is not the one whose name was told
    assert judge_federation(answer, [], Expected(federation="brains")).status is FAIL


def test_a_plaintext_server_is_told_from_a_hub(start_hub: StartHub, ca: Paper) -> None:
    address = start_hub(None)
    answer = call(address, ca)
    assert answer.obstacle is Obstacle.NO_TLS
    line = judge_tls(address, answer, has_ca=True)
    assert line.status is FAIL
    assert "speaks no TLS" in line.fix


def test_nobody_there_silence_and_an_unknown_name_are_three_things(
    ca: Paper, closed_port: int, silent_port: int
) -> None:
    closed = Address(host="127.0.0.1", port=closed_port)
    assert call(closed, ca).obstacle is Obstacle.CLOSED
    assert judge_reachable(closed, call(closed, ca)).status is FAIL
    silent = call(Address(host="127.0.0.1", port=silent_port), ca, timeout_s=0.2)
    assert (silent.obstacle, silent.detail) == (Obstacle.SILENT, "no answer within 0.2 s")
    assert call(Address(host="no-such-host.invalid", port=1), ca).obstacle is Obstacle.UNKNOWN_NAME


def test_no_way_there_is_told_from_nobody_there(ca: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    address = Address(host="127.0.0.1", port=1)
    assert call(address, ca).obstacle is Obstacle.NO_ROUTE


def test_a_ca_file_that_is_none_is_said_before_anybody_is_called(hub_paper: Paper, closed_port: int) -> None:
    address = Address(host="127.0.0.1", port=closed_port)
    answer = call_hub(address, hub_paper.key_file, clocks=Clocks(), timeout_s=1.0)
    assert answer.obstacle is Obstacle.UNUSABLE_CA
    assert judge_tls(address, answer, has_ca=True).status is FAIL


def test_the_machines_own_list_of_cas_does_not_know_the_federation(start_hub: StartHub, hub_paper: Paper) -> None:
    assert call(start_hub(hub_paper), None).obstacle is Obstacle.NOT_BELIEVED
    line = judge_tls(Address(host="h", port=1), HubAnswer(), has_ca=False)
    assert line.status is WARN  # even a hub that a public CA certifies


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_server_that_is_no_hub_fails_the_health_check(
    start_hub: StartHub, hub_paper: Paper, ca: Paper, status: int
) -> None:
    line = judge_health(call(start_hub(hub_paper, status=status), ca))
    assert line.status is FAIL
    assert f"HTTP {status}" in line.found


def test_whoever_hangs_up_in_the_middle_is_no_hub(
    start_hub: StartHub, hub_paper: Paper, ca: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr("http.client.HTTPConnection.request", broken)
    address = start_hub(hub_paper)
    answer = call(address, ca)
    assert answer.obstacle is Obstacle.NO_HTTP
    assert judge_tls(address, answer, has_ca=True).status is FAIL
    assert judge_federation(answer, [], Expected()).status is FAIL
    assert judge_health(answer).status is FAIL


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_an_answer_without_a_usable_time_has_none(
    start_hub: StartHub, hub_paper: Paper, ca: Paper, date: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("http.client.HTTPResponse.getheader", lambda *_: date)
    assert call(start_hub(hub_paper), ca).hub_s is None


@pytest.mark.parametrize(
    ("text", "host", "port"), [("hub.example.org:8443", "hub.example.org", 8443), ("[::1]:80", "::1", 80)]
)
def test_addresses_are_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host=host, port=port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "hub", "hub:", ":80", "hub:http", "hub:0", "hub:70000", "https://hub:80", "a@b:1", "hub:80/x"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted HOST:PORT"):
        parse_address(text)
