"""What an evaluation tells about its cases, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.evaluation_task import summary
from client.site import Site
from client.tasks import run_task
from diffuse_uda.algorithms.metrics import StructureScore, StructureStatus
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.methods.phase import Task
from diffuse_uda.training import inference
from tests.tiny_site import first_weights, order_for, tiny_config

SEEN = StructureScore(dice=0.8, hd95_mm=2.0, assd_mm=1.0, nsd=1.0, status=StructureStatus.OK)
MISSED = StructureScore(dice=0.0, hd95_mm=None, assd_mm=None, nsd=0.0, status=StructureStatus.EMPTY_PREDICTION)


def test_scores_are_means_over_cases_and_distances_over_those_that_have_one() -> None:
    scores = {"a": {"ball": SEEN}, "b": {"ball": SEEN}, "c": {"ball": MISSED}}
    assert summary(scores, least=2) == pytest.approx({"dice": 1.6 / 3, "hd95-mm": 2.0, "undefined": 1.0})


@pytest.mark.parametrize(
    ("num_seen", "num_missed", "least", "told"),
    [
        (3, 0, 3, True),
        (2, 1, 3, False),  # the mean distance would be that of two patients
        (1, 2, 3, False),
        (2, 1, 2, True),
        (2, 0, 3, True),  # two cases in all: the gate keeps every score back, and says so
        (0, 3, 1, False),
    ],
)
def test_a_distance_that_few_of_enough_cases_have_is_left_out(
    num_seen: int, num_missed: int, least: int, *, told: bool
) -> None:
    scores = {str(n): {"ball": SEEN if n < num_seen else MISSED} for n in range(num_seen + num_missed)}
    said = summary(scores, least=least)
    assert ("hd95-mm" in said) == told
    assert said["undefined"] == num_missed


def test_no_case_has_no_score() -> None:
    assert summary({}, least=3) == {"undefined": 0.0}


def test_what_is_scored_is_what_predict_would_write(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan's intensities have their word: here they say class 3 everywhere."""
    everywhere = torch.eye(7)[3].view(7, 1, 1, 1)
    monkeypatch.setattr(
        inference, "sharpen_probabilities", lambda images, _answers, **_: [everywhere.expand(7, *images[0].shape[1:])]
    )
    config = tiny_config({"prediction.mixture-share": 0.95})
    run_task(target, config, order_for(Task.EVALUATE, phase="evaluate-asc"), first_weights(config))
    (first, *_) = sorted((target.workspace / "evaluation").rglob("*.nii.gz"))
    assert 3 in np.unique(load_volume(first).voxels)
    assert set(np.unique(load_volume(first).voxels)) <= {0, 3}
