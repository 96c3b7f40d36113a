"""A hundred faults with a patient planted in each: nothing that leaves a site, and nothing in its audit log, names her.

The real client app does the work behind the in-process grid; what leaves is looked at as Flower's own bytes, the words
of errors included, so compressed or packed forms hide nothing.
"""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from flwr.app import Message, RecordDict

from client.client_app import app as client_app
from client.site import AUDIT_LOG
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.errors import (
    CheckpointError,
    ConfigError,
    DiffuseUdaError,
    ExchangeError,
    Finding,
    GeometryError,
    InputError,
    MemoryEstimateError,
    RefusalError,
)
from diffuse_uda.exchange.audit_check import check_log
from diffuse_uda.exchange.envelopes import Envelope, in_envelope, wire_bytes
from diffuse_uda.exchange.flower import INTRODUCE, empty_content, encode_order, encode_weights, work_type
from diffuse_uda.exchange.orders import SiteCard, SiteReply
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.run_options import read_run_config
from diffuse_uda.methods.phase import Task
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid
from tests import arithmetic_tasks
from tests.fake_federation import node_configs, order_for, run_config, tiny_weights, use_arithmetic

SITES = {"target-b": FIRST_NODE_ID, "source": FIRST_NODE_ID + 1, "target-a": FIRST_NODE_ID + 2}
NUM_FAULTS = 100

Spoil = Callable[[str, SiteReply], SiteReply]


def _raising(make: Callable[[str], BaseException]) -> Spoil:
    def spoil(token: str, _reply: SiteReply) -> SiteReply:
        raise make(token)

    return spoil


def _nested(token: str) -> Exception:
    error: Exception = OSError(2, token, f"/data/{token}/t1.nii.gz")
    for kind in (KeyError, ValueError, RuntimeError):
        outer = kind(f"while reading {token}")
        outer.__cause__ = error
        outer.add_note(f"patient {token}")
        error = outer
    return error


def _grouped(token: str) -> Exception:
    return ExceptionGroup(token, [ValueError(token), OSError(token)])


def _finding(token: str) -> InputError:
    return InputError([Finding(rule=token, centre=token, found=token, wanted=token, fix=token, case=token, file=token)])


def _weights(reply: SiteReply, **changes: Any) -> SiteReply:
    return replace(reply, weights={**(reply.weights or {}), **changes})


def _text(token: str) -> torch.Tensor:
    return torch.tensor(list(token.encode()), dtype=torch.uint8)


FAULTS: dict[str, Spoil] = {
    "message of an exception": _raising(lambda token: ValueError(f"cannot read /data/{token}/t1.nii.gz")),
    "path of an OSError": _raising(lambda token: FileNotFoundError(2, "no such file", f"/data/{token}/t1.nii.gz")),
    "nested causes and notes": _raising(_nested),
    "group of exceptions": _raising(_grouped),
    "name of an exception's class": _raising(lambda token: type(token, (RuntimeError,), {})("x")),
    "class that calls itself ours": _raising(
        lambda token: type("ConfigError", (Exception,), {"__doc__": token})(token)
    ),
    "key of a KeyError": _raising(KeyError),
    "UnicodeDecodeError with the bytes": _raising(
        lambda token: UnicodeDecodeError("utf-8", token.encode(), 0, 1, token)
    ),
    "refused input": _raising(_finding),
    "a rule's form": _raising(lambda token: _finding(token.lower())),
    "rules of a refusal": _raising(lambda token: RefusalError(token, [(token, token), (f"a-{token.lower()}", token)])),
    "broken rule": _raising(lambda token: BrokenRuleError(rule=token, found=token, wanted=token, fix=token)),
    "configuration": _raising(ConfigError),
    "geometry": _raising(GeometryError),
    "checkpoint": _raising(lambda token: CheckpointError(f"/scans/{token}/state")),
    "memory": _raising(MemoryEstimateError),
    "exchange": _raising(ExchangeError),
    "subclass of ours": _raising(lambda token: type(f"{token}Error", (DiffuseUdaError,), {})(token)),
    "name of a scalar": lambda token, reply: replace(reply, metrics={token: 1.0}),
    "name of a loss": lambda token, reply: replace(reply, metrics={f"loss/{token}": 1.0}),
    "name of a label": lambda token, reply: replace(reply, metrics={f"dice/{token}": 0.5}),
    "value of a scalar": lambda token, reply: replace(reply, metrics={"loss": cast("float", token)}),
    "number of cases": lambda token, reply: replace(reply, num_examples=cast("int", token)),
    "name of a tensor": lambda token, reply: _weights(reply, **{token: torch.zeros(1)}),
    "text in a tensor": lambda token, reply: _weights(reply, weight=_text(token)),
    "text for a tensor": lambda token, reply: _weights(reply, weight=token),
}


class Patient:
    """A token that nothing but the fault knows, in every form in which it could travel."""

    def __init__(self, number: int) -> None:
        letters = random.Random(number)  # noqa: S311 - names, not secrets
        self.token = "PATIENT" + "".join(letters.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(9))

    def is_in(self, data: bytes) -> bool:
        plain = self.token.encode()
        forms = {plain, plain.lower(), plain[::-1], self.token.encode("utf-16-le"), plain.hex().encode()}
        forms |= {base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)}
        return any(form in data for form in forms)


@dataclass(frozen=True, kw_only=True)
class _Wire:
    grid: LocalGrid
    config: StudyConfig
    folder: Path

    def ask(self, node_id: int, message_type: str, content: Any) -> bytes:
        """Send a letter and return every byte of the answer."""
        stamped = in_envelope(content, Envelope(run="r1", plan=plan_hash(self.config)))
        (answer,) = self.grid.send_and_receive([Message(stamped, node_id, message_type)], timeout=60.0)
        metadata = repr(answer.metadata).encode()
        if answer.has_error():
            return metadata + f"{answer.error.code} {answer.error.reason}".encode()
        return metadata + wire_bytes(answer.content)


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Wire]:
    use_arithmetic(monkeypatch)
    flat = run_config(tmp_path, **{"adapt.num-rounds": 10 * NUM_FAULTS})
    with LocalGrid(client_app, node_configs(tmp_path), flat) as grid:
        made = _Wire(grid=grid, config=read_run_config(flat)[0], folder=tmp_path)
        for node_id in SITES.values():
            assert b"public-key" in made.ask(node_id, INTRODUCE, empty_content())
        yield made


def _order(task: Task, server_round: int) -> RecordDict:
    """The order for a round of `adapt`, which follows the warm-up and an evaluation."""
    order = replace(order_for(task, "adapt"), num_rounds=10 * NUM_FAULTS, num_participants=3)
    order = replace(order, server_round=server_round, number=2 + server_round)
    return encode_order(order, encode_weights(tiny_weights()))


def _logs(folder: Path) -> bytes:
    files = [path for path in (folder / "work").rglob("*") if path.is_file() and path.name.startswith(AUDIT_LOG)]
    assert len(files) == 6  # three logs, three heads
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.fault("leaks")
def test_a_hundred_faults_send_no_patient(wire: _Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    places = itertools.cycle([("target-a", Task.ADAPT_TARGET), ("source", Task.ADAPT_SOURCE)])
    sent: list[bytes] = []
    patients, reached = [], list[str]()
    for number, (name, (site_id, task)) in enumerate(zip(itertools.cycle(FAULTS), places, strict=False)):
        if number == NUM_FAULTS:
            break
        patient = Patient(number)
        patients.append(patient)
        spoil = FAULTS[name]
        work = arithmetic_tasks.run_task

        def faulty(*order: Any, spoil: Spoil = spoil, patient: Patient = patient, work: Any = work) -> SiteReply:
            reached.append(patient.token)
            return spoil(patient.token, work(*order))

        with monkeypatch.context() as patch:
            patch.setattr(arithmetic_tasks, "run_task", faulty)
            sent.append(wire.ask(SITES[site_id], work_type(task), _order(task, number + 1)))
        assert b"failed: " in sent[-1], f"{name} was no fault: {sent[-1][-300:]!r}"
    assert reached == [patient.token for patient in patients]
    assert len(set(reached)) == NUM_FAULTS
    everything = b"".join(sent) + _logs(wire.folder)
    assert [patient.token for patient in patients if patient.is_in(everything)] == []
    for site_id in ("source", "target-a"):
        checked = check_log(wire.folder / "work" / site_id / AUDIT_LOG)
        assert checked.findings == ()
        assert checked.num_entries == 2 + NUM_FAULTS  # card and question; an order and a refusal for every fault


def test_the_forms_of_a_token_are_found() -> None:
    patient = Patient(0)
    plain = patient.token.encode()
    for hidden in (
        plain,
        plain.hex().encode(),
        base64.b64encode(b"ab" + plain + b"cd"),
        plain.decode().encode("utf-16"),
    ):
        assert patient.is_in(b"..." + hidden + b"...")
    assert not patient.is_in(Patient(1).token.encode())


def test_a_token_that_is_let_through_would_be_seen(wire: _Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Patient(7)
    monkeypatch.setattr("client.client_app.sealed", _open)
    monkeypatch.setattr(arithmetic_tasks, "run_task", lambda *_order: _raise(ValueError(patient.token)))
    order = _order(Task.ADAPT_TARGET, 1)
    assert patient.is_in(wire.ask(SITES["target-a"], work_type(Task.ADAPT_TARGET), order))


def _open(_task: str) -> Any:
    import contextlib  # noqa: PLC0415

    return contextlib.nullcontext()


def _raise(error: Exception) -> SiteReply:
    raise error


@pytest.mark.parametrize("field", ["label_names", "site_id"])
def test_a_patient_in_a_card_stays(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_arithmetic(monkeypatch)
    patient = Patient(3)
    introduce = arithmetic_tasks.introduce
    value: Any = ("background", f"{patient.token}^1970") if field == "label_names" else f"{patient.token}, 1970"

    def spoilt(*site: Any) -> SiteCard:
        return replace(introduce(*site), **{field: value})

    monkeypatch.setattr(arithmetic_tasks, "introduce", spoilt)
    flat = run_config(tmp_path)
    with LocalGrid(client_app, node_configs(tmp_path), flat) as grid:
        sent = _Wire(grid=grid, config=read_run_config(flat)[0], folder=tmp_path).ask(
            SITES["source"], INTRODUCE, empty_content()
        )
    assert b"RefusalError" in sent
    log = (tmp_path / "work" / "source" / AUDIT_LOG).read_bytes()
    assert not patient.is_in(sent + log)
