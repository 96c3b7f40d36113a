"""One local SGD step of LE-UDA at every site, averaged, is one step with all scans in one place, critics included.

The algebra is that of `test_one_step`: with shares w_i and rates eta / w_i the average of single steps is the step on
the sum of the sites' losses. What has to hold is that every term touches scans of one origin: supervision, both
teachers, the student's fooling and the critics' own losses. The critics are part of the weights that are averaged, and
every site shows them both of their classes, the student's features and its teacher's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.algorithms.aggregation import federated_average, site_weights
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.config import StudyConfig
from diffuse_uda.models import build_model, initial_weights
from diffuse_uda.models.critics import CriticisedSegmenter
from diffuse_uda.training.ensembling import EnsemblingTerms, ensembling_terms
from diffuse_uda.training.seeding import derive_generator
from diffuse_uda.types import ModelName, SiteRole, StateDict, WeightUpdate
from tests.nested_boxes import NUM_CLASSES, SIZE, nested_boxes

ETA = 0.01
FLAT = {
    "method": "le-uda",
    "segmenter.channels": "[4, 4, 8, 8]",
    "grid.patch-size": f"[{SIZE}, {SIZE}, {SIZE}]",
}
STUDY = StudyConfig.from_flat(FLAT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hospital:
    """One site with two scans in three looks of their own: the scan, across, and back."""

    site_id: str
    role: SiteRole
    looks: tuple[Tensor, Tensor, Tensor]
    label_map: Tensor | None
    num_cases: int


@pytest.fixture
def hospitals() -> list[Hospital]:
    label_map = nested_boxes()
    found = []
    for index, site_id in enumerate(("oxford", "leeds", "york")):
        draw = derive_generator(0, "scans", site_id)
        contrasts = 0.2 + 0.7 * torch.rand(3, 2, generator=draw)
        looks = tuple(
            (torch.tensor([0.0, *contrast.tolist()])[label_map] + 0.05 * torch.randn(label_map.shape, generator=draw))
            .clamp(0.01, 1.0)
            .where(label_map > 0, 0.0)
            for contrast in contrasts
        )
        found.append(
            Hospital(
                site_id=site_id,
                role=SiteRole.TARGET if index else SiteRole.SOURCE,
                looks=(looks[0], looks[1], looks[2]),
                label_map=None if index else label_map,
                num_cases=10 * (index + 1),
            )
        )
    return found


def student_of(weights: StateDict) -> CriticisedSegmenter:
    model = build_model(STUDY, ModelName.SEGMENTER, NUM_CLASSES)
    model.load_state_dict(weights)
    assert isinstance(model, CriticisedSegmenter)
    return model


@pytest.fixture
def weights() -> StateDict:
    return initial_weights(STUDY, ModelName.SEGMENTER, NUM_CLASSES)


@pytest.fixture
def teacher() -> nn.Module:
    other = STUDY.model_copy(update={"seed": 1})
    return student_of(initial_weights(other, ModelName.SEGMENTER, NUM_CLASSES)).requires_grad_(requires_grad=False)


def terms_of(hospital: Hospital, student: nn.Module, teacher: nn.Module) -> EnsemblingTerms:
    draw = derive_generator(STUDY.seed, hospital.site_id, "ensemble", 1)
    own, across, back = hospital.looks
    like_source, like_target = ([own, back], [across]) if hospital.label_map is not None else ([across], [own, back])
    return ensembling_terms(student, teacher, like_source, like_target, draw, both_ways=True)


def loss_of(hospital: Hospital, student: nn.Module, teacher: nn.Module) -> Tensor:
    terms = terms_of(hospital, student, teacher)
    # weights that let every term move something
    loss = 10.0 * terms.intra + 10.0 * terms.inter + terms.fooling + terms.critics
    if hospital.label_map is not None:
        loss = loss + torch.stack([dice_ce_loss(logits, hospital.label_map) for logits in terms.logits]).mean()
    return loss


def sgd_step(student: nn.Module, loss: Tensor, rate: float) -> StateDict:
    optimizer = torch.optim.SGD(student.parameters(), lr=rate)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {name: tensor.detach() for name, tensor in student.state_dict().items()}


def centralised_step(hospitals: Sequence[Hospital], weights: StateDict, teacher: nn.Module) -> StateDict:
    student = student_of(weights)
    return sgd_step(student, torch.stack([loss_of(one, student, teacher) for one in hospitals]).sum(), ETA)


def federated_step(
    hospitals: Sequence[Hospital], weights: StateDict, teacher: nn.Module, source_weight: float
) -> StateDict:
    shares = site_weights([(one.role, one.num_cases) for one in hospitals], source_weight)
    updates = []
    for one, share in zip(hospitals, shares, strict=True):
        student = student_of(weights)
        stepped = sgd_step(student, loss_of(one, student, teacher), ETA / share)
        updates.append(WeightUpdate(site_id=one.site_id, weights=stepped, num_examples=one.num_cases))
    return federated_average(updates, shares)


def largest_difference(first: StateDict, second: StateDict, beginning: str = "") -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first if name.startswith(beginning))


@pytest.mark.parametrize("source_weight", [0.5, 0.8])
def test_one_round_of_single_steps_is_one_centralised_step(
    hospitals: list[Hospital], weights: StateDict, teacher: nn.Module, source_weight: float
) -> None:
    centralised = centralised_step(hospitals, weights, teacher)
    federated = federated_step(hospitals, weights, teacher, source_weight)
    for part in ("segmenter", "intra", "inter"):
        assert largest_difference(centralised, weights, part) > 1e-4
    assert largest_difference(federated, centralised) < 1e-5


def test_every_site_has_a_say_in_the_step(hospitals: list[Hospital], weights: StateDict, teacher: nn.Module) -> None:
    whole = centralised_step(hospitals, weights, teacher)
    for absent in hospitals:
        others = [one for one in hospitals if one is not absent]
        assert largest_difference(centralised_step(others, weights, teacher), whole) > 1e-4


def test_critics_see_both_of_their_classes_at_every_site(
    hospitals: list[Hospital], weights: StateDict, teacher: nn.Module
) -> None:
    """An answer of 1/2 everywhere costs a quarter a level and critic, half of it from either class."""
    student = student_of(weights)
    for critic in (*student.intra, *student.inter):
        for parameter in critic.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(list(critic.parameters())[-1], 0.5)  # the last one is a bias
    for one in hospitals:
        assert float(terms_of(one, student, teacher).critics.detach()) == pytest.approx(4 * 0.25)
    for critic in (*student.intra, *student.inter):
        nn.init.zeros_(list(critic.parameters())[-1])
    for one in hospitals:  # "all are the student's": right about one class, wrong about the other
        assert float(terms_of(one, student, teacher).critics.detach()) == pytest.approx(4 * 0.5)
