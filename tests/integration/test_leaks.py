"""A hundred faults at sites full of a patient's name; none of the bytes that leave holds it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from flwr.app import Message

from diffuse_uda.exchange.envelopes import wire_bytes
from diffuse_uda.types import Scalar
from simulations.engines.local_grid import LocalGrid
from simulations.rehearsal.plan import Rehearsal
from tests.leaky_app import ask_everything, client_app
from tests.planted import PATH, PATIENT, STEM, holds_a_name, planted_copy, spellings
from tests.planted_faults import FAULTS

IN_PROCESS = [name for name, fault in FAULTS.items() if not fault.ends_process]


def _asked(folder: Path, names: list[str]) -> tuple[dict[str, tuple[str, str]], list[bytes]]:
    """Ask sites for faults; what was heard, and every byte that left."""
    left: list[bytes] = []

    def record(message: Message) -> Message:
        said = [str(message.metadata).encode()]
        said += [str(message.error).encode()] if message.has_error() else [wire_bytes(message.content)]
        left.append(b"\0".join(said))
        return message

    plan = Rehearsal(folder=folder / "plan")
    scans = {site_id: planted_copy(scans, folder) for site_id, scans in plan.write_scans().items()}
    nodes: list[dict[str, Scalar]] = [
        {
            "site-id": site_id,
            "role": "source" if site_id == "source" else "target",
            "data-dir": str(own),
            "workspace": str(folder / STEM / site_id),
        }
        for site_id, own in scans.items()
    ]
    run_config = {**plan.study, "run-dir": str(folder / "run")}
    with LocalGrid(client_app, nodes, run_config, on_return=record) as grid:
        return ask_everything(grid, dict(run_config), names), left


@pytest.mark.slow
def test_a_hundred_faults_in_one_process_say_no_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(IN_PROCESS) >= 100
    heard, left = _asked(tmp_path, IN_PROCESS)
    assert heard.keys() == set(IN_PROCESS)
    assert len(left) == 2 + len(IN_PROCESS)
    assert {outcome for outcome, _ in heard.values()} == {"answered", "failed"}
    unharmed = {name for name, (outcome, _) in heard.items() if outcome == "answered"}
    assert unharmed <= {name for name, fault in FAULTS.items() if fault.is_answered}
    assert [name for name, answer in heard.items() if holds_a_name(" ".join(answer).encode())] == []
    assert [holds_a_name(data) for data in left if holds_a_name(data)] == []
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert [path.name for path in written if holds_a_name(path.read_bytes())] == []
    assert PATIENT in capfd.readouterr().err  # the site's own log does say it


def test_a_site_that_speaks_its_mind_would_be_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffuse_uda.exchange.sealing._kind", str)
    monkeypatch.setattr("server.register.is_sealed", lambda *_: True)
    names = ["error: no such file", "scans: no images"]
    heard, left = _asked(tmp_path, names)
    assert [name for name in names if holds_a_name(heard[name][1].encode())] == names
    assert sum(bool(holds_a_name(data)) for data in left) == 2


def test_a_name_is_found_however_it_is_spelt() -> None:
    for text in (PATIENT, PATH):
        for before in ("", "x", "xy"):
            raw = (before + text).encode()
            spelt = [raw, raw.lower(), (before + text).encode("utf-16-le"), raw.hex().encode(), base64.b64encode(raw)]
            assert all(holds_a_name(data) for data in spelt)
    assert len(set(spellings())) == 7
    assert holds_a_name(b"a good word" * 99) == []
