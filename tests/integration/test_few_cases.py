"""A target with too few cases for statistics takes part all the same, and everybody is told what that costs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from client.generation_tasks import APPEARANCE
from client.site_state import SiteState
from diffuse_uda.algorithms.domain_contrast import ClassAppearance
from diffuse_uda.types import Scalar
from server.history import HISTORY_FILE
from simulations.engines.in_process import run_in_process
from simulations.phantom.centres import SOURCE_T1W, TARGET_T2W
from simulations.phantom.cohort import write_cohort
from tests.tiny_site import FLAT

BUDGETS: dict[str, Scalar] = {
    f"{phase}.{key}": value
    for phase, num_rounds in {"warm-up": 1, "adapt": 0, "recolour": 1, "diffuse": 1, "refine": 1}.items()
    for key, value in {"num-rounds": num_rounds, "num-local-steps": 1, "batch-size": 1}.items()
}


def test_a_target_of_two_cases_keeps_its_statistics_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    centres = [
        dataclasses.replace(centre, num_train=num_train, num_test=1, num_development=0)
        for centre, num_train in ((SOURCE_T1W, 3), (TARGET_T2W, 2))
    ]
    folders = write_cohort(tmp_path / "cohort", seed=1, centres=centres, shape=(16, 16, 16), spacing_mm=(12.0,) * 3)
    nodes: list[dict[str, Scalar]] = [
        {"site-id": role, "role": role, "data-dir": str(folder), "workspace": str(tmp_path / role)}
        for role, folder in zip(("source", "target"), folders, strict=True)
    ]
    run_in_process(
        {**FLAT, **BUDGETS, "num-passes": 1, "run-dir": str(tmp_path / "run")}, nodes, on_event=lambda _event: None
    )
    lines = (tmp_path / "run" / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
    records = {record["phase"]: record["sites"] for record in map(json.loads, lines)}
    assert {site["state"] for sites in records.values() for site in sites.values()} == {"used"}
    for phase in ("describe", "diffuse"):
        told, withheld = records[phase]["source"], records[phase]["target"]
        assert "withheld-rows" not in told["metrics"]
        assert withheld["metrics"]["withheld-rows"] == 4
        assert withheld["warnings"][0].startswith("too few cases: the site keeps what its classes look like to itself")
    kept = SiteState(tmp_path / "source" / "state").load_tensors(APPEARANCE)
    assert kept is not None
    assert ClassAppearance(**kept).is_told.tolist() == [True, False]
    assert "site target tells nothing about its classes: random looks stand for its own" in caplog.messages
    assert "2 cases, and statistics leave over 3: this site tells nothing about its classes" in caplog.messages
    assert records["refine-for-1"]["target"]["metrics"]["loss"] > 0
