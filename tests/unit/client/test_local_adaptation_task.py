"""A target alone with the shipped model: it labels, trains, keeps its weights, and scores them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from client.local_adaptation_task import ADAPTED, local_plan
from client.site import Site, open_site
from client.site_state import SiteState
from client.tasks import run_task
from client.workplace import open_workplace
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.exchange.policy import reply_policy
from diffuse_uda.methods.phase import Task
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName, StateDict
from simulations.phantom.centres import TARGET_T2W
from simulations.phantom.cohort import write_cohort

CONFIG = StudyConfig.from_flat(
    {
        "method": "shipped-and-adapted",
        "grid.patch-size": "[16, 16, 16]",
        "grid.spacing-mm": "[12.0, 12.0, 12.0]",
        "segmenter.channels": "[4, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention-levels": "[false, false]",
        "adapt.num-rounds": 2,
        "adapt.num-local-steps": 2,
        "adapt.target-step-fraction": 0.5,
        "refine.num-rounds": 1,
        "refine.num-local-steps": 1,
        "compute.num-threads": 1,
        "compute.device": "cpu",
    }
)
NAMES = ("background", "cortical_gm", "white_matter", "ventricles", "deep_gm", "cerebellum", "brainstem")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = dataclasses.replace(TARGET_T2W, num_train=2, num_test=1, num_development=0)
    place = tmp_path_factory.mktemp("cohort") / "small"
    return write_cohort(place, seed=1, centres=[small], shape=(16, 16, 16), spacing_mm=(12.0, 12.0, 12.0))[0]


@pytest.fixture
def target(folder: Path, tmp_path: Path) -> Site:
    return open_site({"site-id": "target", "role": "target", "data-dir": str(folder), "workspace": str(tmp_path)})


def order(task: Task, phase: str) -> WorkOrder:
    return WorkOrder(
        task=task,
        phase=phase,
        server_round=1,
        num_rounds=1,
        pass_index=0,
        row="shipped-and-adapted",
        domains=("source", "target"),
        label_names=NAMES,
    )


def shipped() -> StateDict:
    return initial_weights(CONFIG, ModelName.SEGMENTER, len(NAMES))


def test_what_a_target_adapts_stays_in_its_state_and_moves_away_from_what_was_shipped(target: Site) -> None:
    adapting = order(Task.ADAPT_LOCALLY, "adapt-locally")
    reply = run_task(target, CONFIG, adapting, shipped())
    policy = reply_policy(CONFIG, target.role, adapting, shipped())
    policy.check(policy.withhold(reply))
    assert reply.weights is None
    assert reply.num_examples == 2
    assert sorted(reply.metrics) == ["confidence", "loss", "seconds"]
    adapted = SiteState(target.workspace / "state").load_tensors(ADAPTED)
    assert adapted is not None
    assert adapted.keys() == shipped().keys()
    assert any(not adapted[name].equal(tensor) for name, tensor in shipped().items())


def test_its_labels_are_those_of_a_federated_target_with_one_model(target: Site, tmp_path: Path) -> None:
    state = SiteState(target.workspace / "state")
    run_task(target, CONFIG, order(Task.ADAPT_LOCALLY, "adapt-locally"), shipped())
    alone = state.load_examples("pseudo-labelled")
    run_task(target, CONFIG, order(Task.PSEUDO_LABEL, "pseudo-label"), shipped())
    for example, wanted in zip(alone, state.load_examples("pseudo-labelled"), strict=True):
        assert example.label_map is not None
        assert wanted.label_map is not None
        assert example.label_map.equal(wanted.label_map)


def test_it_takes_the_steps_of_a_target_in_adaptation_and_refinement_together(target: Site) -> None:
    # Two rounds of half of two steps, and one round of a share of one step, which is never less than one.
    plan = local_plan(open_workplace(target, CONFIG, order(Task.ADAPT_LOCALLY, "adapt-locally")))
    assert (plan.first_step, plan.num_local_steps, plan.total_steps) == (0, 3, 3)
    assert plan.learning_rate == CONFIG.refine.learning_rate


def test_a_target_scores_its_own_model_and_not_the_one_that_comes_with_the_order(target: Site) -> None:
    run_task(target, CONFIG, order(Task.ADAPT_LOCALLY, "adapt-locally"), shipped())
    own = SiteState(target.workspace / "state").load_tensors(ADAPTED)
    assert own is not None
    scores = target.workspace / "evaluation" / "shipped-and-adapted" / "scores.json"
    found = []
    for task, weights in [
        (Task.EVALUATE_LOCALLY, shipped()),
        (Task.EVALUATE, own),
        (Task.EVALUATE, shipped()),
    ]:
        run_task(target, CONFIG, order(task, "evaluate-shipped-and-adapted"), weights)
        found.append(json.loads(scores.read_text()))
    assert found[0] == found[1] != found[2]


def test_a_target_that_adapted_nothing_cannot_score_it(target: Site) -> None:
    with pytest.raises(SiteTaskError, match=r"site 'target' \(target\) holds no model of its own"):
        run_task(target, CONFIG, order(Task.EVALUATE_LOCALLY, "evaluate-shipped-and-adapted"), shipped())
