"""Shipped and adapted, through the real server and client: one model goes out, none comes back from a target."""

import json
from pathlib import Path

from diffuse_uda.config import StudyConfig
from diffuse_uda.types import Scalar
from simulations.centres import check_centres
from simulations.engines.in_process import run_in_process
from simulations.federation import node_config


def test_targets_report_scores_of_models_that_nobody_else_has(
    tmp_path: Path, tiny_config: dict[str, Scalar], tiny_cohort: list[Path]
) -> None:
    config = StudyConfig.from_flat({**tiny_config, "method": "shipped-and-adapted", "warm-up.random-look-share": 0.8})
    nodes = [node_config(centre, tmp_path) for centre in check_centres(tiny_cohort)]
    run_in_process({**config.to_flat(), "run-dir": str(tmp_path)}, nodes)
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [record["phase"] for record in history] == [
        "warm-up",
        "evaluate-source-only-random-conv",
        "adapt-locally",
        "evaluate-shipped-and-adapted",
    ]
    sent_back = max(site["bytes_received"] for record in history[1:] for site in record["sites"].values())
    assert sent_back < 10_000 < history[0]["sites"]["source-t1w"]["bytes_received"]
    for target in ("target-t2w", "target-flair"):
        folder = tmp_path / "sites" / target / "evaluation"
        assert sorted(path.name for path in folder.iterdir()) == ["shipped-and-adapted", "source-only-random-conv"]
