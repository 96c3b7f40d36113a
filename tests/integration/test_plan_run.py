"""A run for a plan alone: sites say what their scans are like, the server writes a study file, nobody trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.run_options import RUN_DIR
from diffuse_uda.types import Scalar
from server.ending import RunEnd, read_ending
from server.plan_files import NUMBERS_FILE, PLAN_FILE
from simulations.centres import check_centres
from simulations.engines.in_process import run_in_process
from simulations.federation import node_config

NARROW = "allow-fingerprints = false\n"


def _plan(cohort: list[Path], run_dir: Path, *, silent: str = "", least: int = 2) -> None:
    flat: dict[str, Scalar] = {
        "method": "plan",
        "exchange.allow-fingerprints": True,
        "exchange.min-cases-for-statistics": least,
        RUN_DIR: str(run_dir),
    }
    nodes = [dict(node_config(centre, run_dir)) for centre in check_centres(cohort)]
    policy = run_dir.with_name("egress.toml")
    policy.write_text(NARROW)
    for node in nodes:
        if node["site-id"] == silent:
            node["egress-policy"] = str(policy)
    run_in_process(flat, nodes, on_event=lambda _event: None)


def test_fingerprints_become_a_study_file(tiny_cohort: list[Path], tmp_path: Path) -> None:
    _plan(tiny_cohort, tmp_path / "run")
    ending = read_ending(tmp_path / "run")
    assert ending is not None
    assert ending.end is RunEnd.COMPLETED
    numbers = json.loads((tmp_path / "run" / NUMBERS_FILE).read_text(encoding="utf-8"))
    assert len(numbers["sites"]) == 3
    planned = StudyConfig.from_toml(tmp_path / "run" / PLAN_FILE)
    spacings = sorted(site["spacing-mm.r"] for site in numbers["sites"].values())
    assert planned.grid.spacing_mm[0] == pytest.approx(spacings[1], abs=0.01)
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_what_leaves_is_written_down_and_a_site_may_keep_it(tiny_cohort: list[Path], tmp_path: Path) -> None:
    silent = check_centres(tiny_cohort)[1].site_id
    _plan(tiny_cohort, tmp_path / "run", silent=silent)
    numbers = json.loads((tmp_path / "run" / NUMBERS_FILE).read_text(encoding="utf-8"))
    assert numbers["silent"] == [silent]
    told = {}
    for log in (tmp_path / "run").rglob("audit.jsonl"):
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "fingerprint" in entry:
                told[entry["site"]] = entry["fingerprint"]
    assert told == {**numbers["sites"], silent: {}}


def test_a_site_with_too_few_scans_tells_nothing(tiny_cohort: list[Path], tmp_path: Path) -> None:
    _plan(tiny_cohort, tmp_path / "run", least=1000)
    assert not (tmp_path / "run" / PLAN_FILE).exists()
