"""The joint loss of the centralised reference: shares as factors, steps evenly spread, rows undiluted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from client.site import open_site
from client.workplace import Workplace, open_workplace
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import SiteRole
from simulations.joint_loss import Term, evenly_spread, joint_loss, paired_looks, ramp_of, site_loss, undilute_rows


def workplace(folder: Path, role: str, task: Task, workspace: Path) -> Workplace:
    config = StudyConfig.from_flat(
        {
            "grid.patch-size": "[16, 16, 16]",
            "grid.spacing-mm": "[12.0, 12.0, 12.0]",
            "segmenter.channels": "[4, 8]",
            "denoiser.channels": "[8, 16]",
            "denoiser.attention-levels": "[false, false]",
            "compute.num-threads": 1,
        }
    )
    order = WorkOrder(
        task=task,
        phase="adapt",
        server_round=1,
        num_rounds=2,
        pass_index=0,
        row="",
        domains=("source", "target"),
        label_names=("background", "a", "b"),
    )
    site = open_site({"site-id": role, "role": role, "data-dir": str(folder), "workspace": str(workspace / role)})
    return open_workplace(site, config, order)


@pytest.mark.parametrize(
    ("num_chosen", "num_steps", "wanted"),
    [(1, 1, {0}), (5, 5, {0, 1, 2, 3, 4}), (2, 5, {2, 4}), (3, 5, {1, 3, 4}), (1, 4, {3})],
)
def test_steps_are_spread_evenly(num_chosen: int, num_steps: int, wanted: set[int]) -> None:
    assert evenly_spread(num_chosen, num_steps) == wanted


@pytest.mark.parametrize("num_chosen", [0, 3])
def test_more_steps_than_there_are_or_none_are_refused(num_chosen: int) -> None:
    with pytest.raises(ValueError, match=rf"num_chosen must be in \[1, 2\], got {num_chosen}"):
        evenly_spread(num_chosen, 2)


def test_a_joint_step_adds_the_terms_that_join_and_tells_them_unweighed() -> None:
    terms = {
        "source": Term(loss_at=lambda _step: torch.tensor(2.0), factor=0.7, joins=frozenset({0, 1})),
        "target": Term(loss_at=lambda step: torch.tensor(10.0 * step), factor=0.3, joins=frozenset({1})),
    }
    told: list[tuple[str, float]] = []
    loss_at = joint_loss(terms, lambda site_id, loss: told.append((site_id, loss)))
    assert float(loss_at(0)) == pytest.approx(1.4)
    assert float(loss_at(1)) == pytest.approx(1.4 + 3.0)
    assert told == [("source", 2.0), ("source", 2.0), ("target", 10.0)]


class Rows(nn.Module):
    """A domain table of two rows beside an ordinary weight."""

    def __init__(self) -> None:
        super().__init__()
        self.class_embedding = nn.Embedding(3, 2)
        self.other = nn.Parameter(torch.ones(3, 2))


def test_a_domains_row_gets_its_sites_own_gradient_and_other_weights_the_shared_one() -> None:
    model = Rows()
    undilute_rows(model, {0: 0.5, 1: 0.25})
    rows = model.class_embedding.weight
    loss = (0.5 * rows[0] + 0.25 * rows[1]).sum() + 0.25 * model.other.sum()
    of_rows, of_other = torch.autograd.grad(loss, [rows, model.other])
    assert of_rows.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    assert of_other.tolist() == [[0.25, 0.25]] * 3


def test_looks_are_those_of_the_real_scans_of_the_other_side(small_cohort: list[Path], tmp_path: Path) -> None:
    works = [
        workplace(small_cohort[0], "source", Task.ADAPT_SOURCE, tmp_path),
        workplace(small_cohort[1], "target", Task.ADAPT_TARGET, tmp_path),
    ]
    for_source, for_target = (paired_looks(works, role) for role in (SiteRole.SOURCE, SiteRole.TARGET))
    assert (len(for_source), len(for_target)) == (2, 2)
    assert for_source[0].image is not None
    assert for_target[0].image is not None
    assert not for_source[0].image.equal(for_target[0].image)


def test_the_ramp_is_a_factor_of_the_targets_adaptation_alone(small_cohort: list[Path], tmp_path: Path) -> None:
    adapting = workplace(small_cohort[1], "target", Task.ADAPT_TARGET, tmp_path)
    assert ramp_of(adapting) == pytest.approx(0.2865, abs=1e-4)  # exp(-5 / 4): half of the rounds
    refining = dataclasses.replace(adapting, order=dataclasses.replace(adapting.order, task=Task.REFINE_TARGET))
    assert ramp_of(refining) == 1.0


def test_a_task_without_a_loss_is_refused_by_name(small_cohort: list[Path], tmp_path: Path) -> None:
    work = workplace(small_cohort[0], "source", Task.EVALUATE, tmp_path)
    with pytest.raises(SiteTaskError, match="task 'evaluate' has no loss to add to others"):
        site_loss(work, nn.Identity(), nn.Identity(), [])
