"""Volumes that training looks at, counted by hand."""

from __future__ import annotations

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods.phase import Task
from diffuse_uda.reporting.history_view import RoundRecord, SiteRecord
from diffuse_uda.types import SiteRole
from simulations.study.workload import images_by_row, supervised_volumes, volumes_of_round, volumes_of_study

CONFIG = StudyConfig.from_flat(
    {
        "num-passes": 2,
        "warm-up.num-rounds": 3,
        "warm-up.num-local-steps": 10,
        "warm-up.batch-size": 2,
        "adapt.num-rounds": 4,
        "adapt.num-local-steps": 10,
        "adapt.batch-size": 1,
        "adapt.target-step-fraction": 0.4,
        "recolour.num-turns": 2,
        "recolour.num-rounds": 3,
        "recolour.num-local-steps": 10,
        "recolour.batch-size": 2,
        "diffuse.num-rounds": 1,
        "diffuse.num-local-steps": 5,
        "diffuse.batch-size": 2,
        "refine.num-rounds": 2,
        "refine.num-local-steps": 10,
        "refine.batch-size": 2,
        "refine.target-step-fraction": 0.6,
    }
)
SOURCE_AND_TARGET = [SiteRole.SOURCE, SiteRole.TARGET]


@pytest.mark.parametrize(
    ("task", "volumes"),
    [
        (Task.WARM_UP, 10 * 2),
        (Task.ADAPT_SOURCE, 10 * 2 * 1),  # every volume in two looks
        (Task.ADAPT_TARGET, 4 * 4),  # 0.4 of the steps, two scans in two looks
        (Task.RECOLOUR, 10 * 2),
        (Task.DESCRIBE, 0),
        (Task.DIFFUSE, 5 * 2),
        (Task.REFINE_SOURCE, 10 * 2),
        (Task.REFINE_TARGET, 6 * (2 + 4)),
        (Task.ADAPT_LOCALLY, (4 * 4 + 2 * 6) * (2 + 4)),
        (Task.PSEUDO_LABEL, 0),
        (Task.EVALUATE, 0),
    ],
)
def test_volumes_of_a_round(task: Task, volumes: int) -> None:
    assert volumes_of_round(CONFIG, task) == volumes


def test_without_consistency_a_target_refines_on_its_batch_alone() -> None:
    config = CONFIG.model_copy(update={"refine": CONFIG.refine.model_copy(update={"lambda_max": 0.0})})
    assert volumes_of_round(config, Task.REFINE_TARGET) == 6 * 2
    assert volumes_of_round(config, Task.ADAPT_LOCALLY) == (4 * 4 + 2 * 6) * 2


def test_volumes_of_a_study_are_those_of_all_rounds_and_passes() -> None:
    asc = CONFIG.model_copy(update={"method": "asc"})
    assert volumes_of_study(asc, SOURCE_AND_TARGET) == 3 * 20 + 4 * (20 + 16)
    one_pass = 1 * (10 + 10) + 2 * (20 + 36)
    assert volumes_of_study(CONFIG, SOURCE_AND_TARGET) == 3 * 20 + 4 * (20 + 16) + 2 * 3 * 20 + 2 * one_pass
    assert volumes_of_study(asc, [SiteRole.SOURCE]) == 3 * 20 + 4 * 20


def test_the_supervised_reference_takes_the_steps_of_warm_up_recolouring_and_refinement() -> None:
    assert supervised_volumes(CONFIG) == (3 * 10 + 2 * 3 * 10 + 2 * 2 * 10) * 2


def test_a_row_has_seen_what_came_before_its_evaluation() -> None:
    config = CONFIG.model_copy(update={"method": "asc"})
    both = {"source": SiteRecord(), "leeds": SiteRecord()}
    history = [
        RoundRecord(phase="warm-up", server_round=1, sites={"source": SiteRecord()}),
        RoundRecord(phase="evaluate-source-only", server_round=1, sites=both),
        RoundRecord(phase="adapt", server_round=1, sites=both),
        RoundRecord(phase="evaluate-asc", server_round=1, sites=both),
    ]
    roles = {"source": SiteRole.SOURCE, "leeds": SiteRole.TARGET}
    assert images_by_row(config, history, roles) == {"source-only": 20, "asc": 20 + 20 + 16}
