"""The reference with a target's own labels: how many steps it gets, and where its scores go."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.site import open_site
from client.workplace import Workplace
from diffuse_uda.config import StudyConfig, WarmUpConfig
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.models import initial_weights
from diffuse_uda.training.batches import Example
from diffuse_uda.types import ModelName, StateDict
from simulations import references
from simulations.references import fit_target_supervised, has_oracle

CONFIG = StudyConfig.from_flat(
    {
        "grid.patch-size": "[16, 16, 16]",
        "grid.spacing-mm": "[12.0, 12.0, 12.0]",
        "segmenter.channels": "[4, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention-levels": "[false, false]",
        "num-passes": 2,
        "warm-up.num-rounds": 3,
        "warm-up.num-local-steps": 10,
        "warm-up.random-look-share": 0.8,
        "refine.num-rounds": 4,
        "refine.num-local-steps": 5,
        "compute.num-threads": 1,
    }
)
NAMES = ("background", "cortical_gm", "white_matter", "ventricles", "deep_gm", "cerebellum", "brainstem")


def test_the_ceiling_takes_the_steps_of_warm_up_recolouring_and_all_refinements_on_its_own_look(
    small_cohort: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[WarmUpConfig] = []

    def fit(work: Workplace, weights: StateDict, examples: list[Example], fitting: WarmUpConfig) -> SiteReply:
        seen.append(fitting)
        assert all(example.label_map is not None for example in examples)
        return SiteReply(num_examples=len(examples), weights=weights)

    monkeypatch.setattr(references, "fit_supervised", fit)
    target = small_cohort[1]
    site = open_site({"site-id": "t2w", "role": "target", "data-dir": str(target), "workspace": str(tmp_path)})
    first = initial_weights(CONFIG, ModelName.SEGMENTER, len(NAMES))
    assert has_oracle(target)
    fit_target_supervised(site, CONFIG, first, ("source", "t2w"), NAMES)
    assert (seen[0].num_rounds, seen[0].num_local_steps) == (1, 3 * 10 + 2 * 75 + 2 * 4 * 5)
    assert seen[0].random_look_share == 0.0
    assert seen[0].learning_rate == CONFIG.warm_up.learning_rate
    assert (tmp_path / "evaluation" / "target-supervised" / "scores.json").exists()
    assert not (tmp_path / "state").exists()


def test_a_source_has_no_oracle(small_cohort: list[Path]) -> None:
    assert not has_oracle(small_cohort[0])
