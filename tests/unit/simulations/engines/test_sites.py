"""Simulated nodes have numbers; a file says which sites they play."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.errors import ConfigError, QuorumError
from diffuse_uda.training.checkpoints import load_checkpoint
from diffuse_uda.training.interruption import allow_local_work
from simulations.engines.declared_config import declared_config
from simulations.engines.in_process import run_in_process
from simulations.engines.sites import prepare_phantom_sites, write_sites_file
from tests.fake_federation import node_configs, run_config, use_arithmetic

NUMBERS: list[dict[str, Any]] = [{"partition-id": index, "num-partitions": 3} for index in range(3)]


@pytest.fixture
def _arithmetic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_arithmetic(monkeypatch)
    yield
    allow_local_work()


@pytest.fixture
def cohort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The cohort's writer, replaced: it only notes what was asked for."""
    calls: list[tuple[Path, dict[str, Any]]] = []

    def write(folder: Path, **options: Any) -> list[Path]:
        calls.append((folder, options))
        return [folder / f"centre-{index}" for index in range(3)]

    monkeypatch.setattr("simulations.engines.sites.write_cohort", write)
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize("num_nodes", [2, 3])
def test_as_many_centres_play_as_there_are_nodes(
    num_nodes: int, cohort: list[tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    path = tmp_path / "runs" / "flower" / "sites.json"
    prepare_phantom_sites(path, num_nodes)
    configs = json.loads(path.read_text(encoding="utf-8"))
    assert [config["role"] for config in configs] == ["source", "target", "target"][:num_nodes]
    assert len({config["site-id"] for config in configs}) == num_nodes
    assert configs[1]["data-dir"] == str(tmp_path / "cohorts" / "phantom-0" / "centre-1")
    assert configs[1]["workspace"] == str(tmp_path / "runs" / "flower" / "sites" / configs[1]["site-id"])
    assert len(cohort) == 1


@pytest.mark.parametrize("num_nodes", [1, 4])
@pytest.mark.usefixtures("cohort")
def test_a_cohort_cannot_be_shared_out_among_any_number(num_nodes: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num-supernodes=3"):
        prepare_phantom_sites(tmp_path / "sites.json", num_nodes)


@pytest.mark.usefixtures("_arithmetic")
def test_nodes_play_the_sites_of_their_numbers(tmp_path: Path) -> None:
    sites_file = tmp_path / "sites.json"
    write_sites_file(sites_file, node_configs(tmp_path))
    run_in_process(
        run_config(tmp_path, **{"simulation.sites-file": str(sites_file)}), NUMBERS, on_event=lambda _event: None
    )
    weights, _ = load_checkpoint(tmp_path / "run" / "checkpoints" / "latest" / "segmenter")
    assert weights["scale"].item() == 10.25


@pytest.mark.usefixtures("_arithmetic")
def test_a_site_of_its_own_name_is_not_renamed_by_a_server_s_file(tmp_path: Path) -> None:
    sites_file = tmp_path / "sites.json"
    write_sites_file(sites_file, [{"site-id": "spy", "role": "source"}] * 3)
    config = run_config(tmp_path, **{"simulation.sites-file": str(sites_file)})
    run_in_process(config, node_configs(tmp_path), on_event=lambda _event: None)
    federation = json.loads((tmp_path / "run" / "federation.json").read_text(encoding="utf-8"))
    assert [site["site_id"] for site in federation["sites"]] == ["source", "target-a", "target-b"]


@pytest.mark.usefixtures("_arithmetic")
def test_numbers_without_a_file_are_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"simulation\.prepare-sites"):
        run_in_process(run_config(tmp_path), NUMBERS, on_event=lambda _event: None)


@pytest.mark.usefixtures("_arithmetic")
def test_more_nodes_than_sites_stop_the_study(tmp_path: Path) -> None:
    sites_file = tmp_path / "sites.json"
    write_sites_file(sites_file, node_configs(tmp_path)[:2])
    config = run_config(tmp_path, **{"simulation.sites-file": str(sites_file)})
    with pytest.raises(Exception, match="1 of 3 sites cannot take part") as caught:
        run_in_process(config, NUMBERS, on_event=lambda _event: None)
    assert not isinstance(caught.value, QuorumError)


def test_the_declared_configuration_leaves_the_study_to_its_preset() -> None:
    declared = declared_config()
    options = {key: value for key, value in declared.items() if value != ""}
    assert not [key for key in options if key.endswith(("num-rounds", "num-local-steps", "learning-rate"))]
    assert {"run-dir", "simulation.sites-file"} <= options.keys()
    assert options["simulation.prepare-sites"] == f"{prepare_phantom_sites.__module__}:{prepare_phantom_sites.__name__}"
    assert {"seed", "method", "adapt.num-rounds"} <= declared.keys()
