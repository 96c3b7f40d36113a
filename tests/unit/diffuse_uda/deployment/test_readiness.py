import errno
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from diffuse_uda.deployment import readiness
from diffuse_uda.deployment.readiness import port_verdicts, refuse_failures, wait_until_serving
from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.ports import Occupation
from diffuse_uda.doctor.verdict import Status, failed, passed, warned
from diffuse_uda.errors import ConfigError

ONE, TWO = Address(host="127.0.0.1", port=1), Address(host="127.0.0.1", port=2)


def answers_of(monkeypatch: pytest.MonkeyPatch, told: dict[Address, Iterator[str]]) -> None:
    monkeypatch.setattr(readiness, "probe_health", lambda address, timeout_s: next(told[address]))


def test_waiting_ends_when_all_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of(monkeypatch, {ONE: repeat("SERVING"), TWO: chain(["UNAVAILABLE"] * 3, repeat("SERVING"))})
    pauses: list[float] = []
    answers = wait_until_serving((ONE, TWO), wait_s=60.0, clock=lambda: 0.0, sleep=pauses.append)
    assert answers == {ONE: "SERVING", TWO: "SERVING"}
    assert len(pauses) == 3


def test_waiting_ends_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of(monkeypatch, {ONE: repeat("UNAVAILABLE")})
    moments = iter([0.0, 1.0, 2.0, 3.0])
    answers = wait_until_serving((ONE,), wait_s=3.0, clock=lambda: next(moments), sleep=lambda _: None)
    assert answers == {ONE: "UNAVAILABLE"}
    assert next(moments, None) is None


def test_without_patience_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of(monkeypatch, {ONE: iter(["NOT_SERVING"])})
    assert wait_until_serving((ONE,), wait_s=0.0) == {ONE: "NOT_SERVING"}


def test_even_a_program_of_the_federation_is_in_the_way_of_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Occupation(error=errno.EADDRINUSE, process_id=7, program="flower-superlink")
    monkeypatch.setattr(readiness, "try_to_listen", lambda _address: taken)
    assert [verdict.status for verdict in port_verdicts([ONE])] == [Status.FAIL]
    monkeypatch.setattr(readiness, "try_to_listen", lambda _address: Occupation(error=None))
    assert [verdict.status for verdict in port_verdicts([ONE])] == [Status.PASS]


def test_failures_refuse_and_warnings_are_told() -> None:
    fine, odd = passed("a", "1", "1"), warned("b", "2", "1", "look")
    assert refuse_failures("the hub", [fine, odd]) == ["b: 2; look"]
    with pytest.raises(ConfigError) as caught:
        refuse_failures("the hub", [fine, odd, failed("c", "3", "1", "mend"), failed("d", "4", "1", "mend too")])
    assert str(caught.value) == (
        "the hub cannot start:\n"
        "  c\n    found:  3\n    wanted: 1\n    fix:    mend\n"
        "  d\n    found:  4\n    wanted: 1\n    fix:    mend too"
    )
