"""`python -m simulations rehearse`: one verdict, one exit code, nothing left lying about after success."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.ending import RunEnd
from simulations import __main__ as command
from simulations.rehearsal.plan import Kill, Rehearsal
from simulations.rehearsal.rehearse import Verdict
from simulations.rehearsal.services import RehearsalError

GOOD = Verdict(
    status=RunEnd.COMPLETED,
    weights_identical=True,
    differing=[],
    sites=["source", "target-1"],
    rounds=4,
    kills=[],
    seconds={"run": 40.2},
    bytes={"to_sites": 2, "to_hub": 1},
)
BAD = replace(GOOD, weights_identical=False, differing=["checkpoints/segmenter"])


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Rehearsal]:
    """What was asked for; every rehearsal goes well."""
    seen: list[Rehearsal] = []

    def rehearse(plan: Rehearsal, _say: Callable[[str], None]) -> Verdict:
        seen.append(plan)
        return GOOD

    monkeypatch.setattr(command, "rehearse", rehearse)
    return seen


def test_one_json_object_is_printed(plans: list[Rehearsal]) -> None:
    done = CliRunner().invoke(command.app, ["rehearse", "--json", "--seed", "3", "--kill", "site", "--kill", "hub"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["status"], said["weights_identical"]) == ("completed", True)
    assert plans[0].kills == (Kill.SITE, Kill.HUB)
    assert plans[0].study["seed"] == 3
    assert not plans[0].folder.exists()


def test_a_named_folder_is_kept(plans: list[Rehearsal], tmp_path: Path) -> None:
    options = ["rehearse", "--out", str(tmp_path), "--targets", "3", "--set", "method=asc"]
    done = CliRunner().invoke(command.app, options)
    assert done.exit_code == 0
    assert done.stdout == "completed after 40 s, 4 rounds: the same weights\n"
    assert (plans[0].num_targets, plans[0].study["method"]) == (3, "asc")
    assert tmp_path.exists()


def test_other_weights_are_a_failure_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "rehearse", lambda _plan, _say: BAD)
    done = CliRunner().invoke(command.app, ["rehearse", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "other weights: checkpoints/segmenter" in done.stdout
    assert f"everything is kept in {tmp_path}" in done.stderr


def test_a_rehearsal_that_breaks_says_where_its_logs_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(_plan: Rehearsal, _say: Callable[[str], None]) -> Verdict:
        msg = "the hub does not serve"
        raise RehearsalError(msg)

    monkeypatch.setattr(command, "rehearse", breaks)
    done = CliRunner().invoke(command.app, ["rehearse", "--out", str(tmp_path)])
    assert isinstance(done.exception, RehearsalError)
    assert f"everything is kept in {tmp_path}" in done.stderr
