"""One seed, two engines, the same weights: in process, and under Flower's simulation engine with servers and Ray."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.training.interruption import allow_local_work
from diffuse_uda.types import Scalar
from simulations.engines.declared_config import declared_config
from simulations.engines.flower_simulation import SimulationError, run_simulation_engine
from simulations.engines.in_process import run_in_process
from simulations.engines.sites import write_sites_file

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("segmenter", "denoiser", "denoiser-mean")


@pytest.fixture(autouse=True)
def _allow_work() -> Iterator[None]:
    yield
    allow_local_work()


def _weights(run_dir: Path, name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(run_dir / "checkpoints" / "latest" / name)[0]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_seed_gives_the_same_weights_in_both_engines(
    tmp_path: Path, tiny_config: dict[str, Scalar], tiny_cohort: list[Path]
) -> None:
    local, flower = tmp_path / "local", tmp_path / "flower"
    run_in_process({**tiny_config, "run-dir": str(local)}, _nodes(tiny_cohort, tmp_path / "local-sites"), num_workers=2)
    sites_file = tmp_path / "sites.json"
    write_sites_file(sites_file, _nodes(tiny_cohort, tmp_path / "flower-sites"))
    run_simulation_engine(
        {**tiny_config, "run-dir": str(flower), "simulation.sites-file": str(sites_file)},
        num_nodes=3,
        home=tmp_path / "home",
        app_dir=ROOT,
        work_dir=tmp_path,
        cpus_per_node=2,  # one worker: two would spend the test on importing torch twice
        timeout_s=240.0,
    )
    for name in MODELS:
        first, second = _weights(local, name), _weights(flower, name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    histories = [(run / "history.jsonl").read_text(encoding="utf-8").splitlines() for run in (local, flower)]
    states = [[_states(line) for line in history] for history in histories]
    assert states[0] == states[1]


def _nodes(cohort: list[Path], workspace: Path) -> list[dict[str, Scalar]]:
    roles = ["source", "target", "target"]
    return [
        {
            "site-id": folder.name,
            "role": role,
            "data-dir": str(folder),
            "workspace": str(workspace / folder.name),
            "num-threads": 1,
        }
        for folder, role in zip(cohort, roles, strict=True)
    ]


def _states(line: str) -> tuple[str, int, dict[str, str]]:
    record = json.loads(line)
    return record["phase"], record["server_round"], {name: site["state"] for name, site in record["sites"].items()}


@pytest.mark.slow
def test_a_run_that_cannot_start_says_why(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    with pytest.raises(SimulationError, match="`flwr run` failed"):
        run_simulation_engine({}, num_nodes=2, home=tmp_path / "home", app_dir=app)


def test_every_key_of_a_study_can_be_overridden_on_flower_s_command_line() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    assert _flat(app["config"]) == declared_config()


def _flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
