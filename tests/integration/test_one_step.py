"""One local SGD step at every site, averaged, is one step of centralised ASC.

Centralised ASC (arXiv:2310.14172) with one source and T targets minimises L = L_s + lambda / T * sum over t of L_t, and
one SGD step of rate eta goes from theta to

    theta - eta * (grad L_s + lambda / T * sum over t of grad L_t).

In the federation every site starts at the same theta and takes one SGD step on its own term alone, c_i * L_i with
c_s = 1 and c_t = lambda / T, at a rate eta_i. The average with shares w_i, which add up to 1, is

    sum over i of w_i * (theta - eta_i * grad (c_i * L_i)) = theta - sum over i of w_i * eta_i * c_i * grad L_i.

It is the centralised step exactly if w_i * eta_i = eta: a site with share w_i takes the rate eta / w_i. That holds for
every choice of shares, as long as all sites reply and nothing but the gradient differs: the same theta, the same
teacher, and style blocks that crossed the network. A site never sees another's scans; all it knows is their block.

In exact arithmetic both sides are equal; in float32 they differ in the last digits, far below 1e-5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from diffuse_uda.algorithms.aggregation import federated_average, site_weights
from diffuse_uda.algorithms.appearance import mean_style_block, style_block
from diffuse_uda.algorithms.structure import random_box_mask
from diffuse_uda.config import GridConfig, SegmenterConfig, StudyConfig
from diffuse_uda.models import build_segmenter, initial_weights
from diffuse_uda.training.looks import Look, aligned
from diffuse_uda.training.seeding import derive_generator
from diffuse_uda.training.steps import source_loss, target_loss
from diffuse_uda.types import ModelName, SiteRole, StateDict, WeightUpdate
from tests.nested_boxes import NUM_CLASSES, SIZE, nested_boxes

ETA = 0.01
LAMBDA = 200.0
"""As at the end of ASC's ramp; without it the targets would hardly move anything."""
HALF_WIDTH = 4
STUDY = StudyConfig(segmenter=SegmenterConfig(channels=(4, 8)), grid=GridConfig(patch_size=(SIZE, SIZE, SIZE)))
TARGETS = ("leeds", "york")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hospital:
    """One site with one batch of two scans; its style block is all it tells about them."""

    site_id: str
    role: SiteRole
    scans: Tensor
    label_map: Tensor | None
    num_cases: int

    @property
    def block(self) -> Tensor:
        return mean_style_block(style_block(self.scans, HALF_WIDTH))


@pytest.fixture
def hospitals() -> list[Hospital]:
    """Nested boxes of three classes; every hospital shows them in a contrast and a texture of its own."""
    label_map = nested_boxes()
    contrasts = {"oxford": (0.3, 0.9), "leeds": (0.8, 0.4), "york": (0.5, 0.2)}
    found = []
    for index, (site_id, (outer, inner)) in enumerate(contrasts.items()):
        draw = derive_generator(0, "scans", site_id)
        noise = 0.1 * torch.randn(label_map.shape, generator=draw)
        clean = torch.tensor([0.0, outer, inner])[label_map]
        is_source = index == 0
        found.append(
            Hospital(
                site_id=site_id,
                role=SiteRole.SOURCE if is_source else SiteRole.TARGET,
                scans=torch.where(label_map > 0, clean + noise, 0.0).clamp(0.0, 1.0),
                label_map=label_map if is_source else None,
                num_cases=10 * (index + 1),
            )
        )
    return found


def segmenter(weights: StateDict) -> nn.Module:
    model = build_segmenter(STUDY.segmenter, NUM_CLASSES)
    model.load_state_dict(weights)
    return model


@pytest.fixture
def weights() -> StateDict:
    return initial_weights(STUDY, ModelName.SEGMENTER, NUM_CLASSES)


@pytest.fixture
def teacher() -> nn.Module:
    """Not the student's twin: a teacher that agreed already would teach nothing."""
    other = STUDY.model_copy(update={"seed": 1})
    return segmenter(initial_weights(other, ModelName.SEGMENTER, NUM_CLASSES)).requires_grad_(requires_grad=False)


def loss_of(hospital: Hospital, student: nn.Module, teacher: nn.Module, looks: Sequence[Look]) -> Tensor:
    """A site's term of L, from its scans and the looks it received; every draw follows from the site's name."""
    draw = derive_generator(STUDY.seed, hospital.site_id, "adapt", 1)
    swapped = aligned(hospital.scans, looks, draw, window=0.5, adaptive_window=False)
    if hospital.label_map is not None:
        return source_loss(student, hospital.scans, swapped, hospital.label_map)
    mask = random_box_mask((SIZE, SIZE, SIZE), draw)
    return LAMBDA / len(TARGETS) * target_loss(student, teacher, hospital.scans, swapped, mask)


def received_looks(hospital: Hospital, blocks: Mapping[str, Tensor]) -> list[Look]:
    """The targets' looks for the source, the source's for a target."""
    senders = TARGETS if hospital.role is SiteRole.SOURCE else ("oxford",)
    return [Look(block=blocks[site_id]) for site_id in senders]


def sgd_step(student: nn.Module, loss: Tensor, rate: float) -> StateDict:
    optimizer = torch.optim.SGD(student.parameters(), lr=rate)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {name: tensor.detach() for name, tensor in student.state_dict().items()}


def centralised_step(hospitals: Sequence[Hospital], weights: StateDict, teacher: nn.Module) -> StateDict:
    """One model that sees every scan."""
    blocks = {hospital.site_id: hospital.block for hospital in hospitals}
    student = segmenter(weights)
    terms = [loss_of(hospital, student, teacher, received_looks(hospital, blocks)) for hospital in hospitals]
    return sgd_step(student, torch.stack(terms).sum(), ETA)


def federated_step(
    hospitals: Sequence[Hospital],
    weights: StateDict,
    teacher: nn.Module,
    *,
    source_weight: float | None,
    blocks: Mapping[str, Tensor] | None = None,
) -> StateDict:
    """A step at every site, from blocks that were exchanged, then the weighted average of weights."""
    if blocks is None:
        blocks = {hospital.site_id: hospital.block for hospital in hospitals}
    on_the_wire = safetensors.torch.load(safetensors.torch.save(dict(blocks)))
    shares = site_weights([(hospital.role, hospital.num_cases) for hospital in hospitals], source_weight)
    updates = []
    for hospital, share in zip(hospitals, shares, strict=True):
        student = segmenter(weights)
        loss = loss_of(hospital, student, teacher, received_looks(hospital, on_the_wire))
        stepped = sgd_step(student, loss, ETA / share)
        updates.append(WeightUpdate(site_id=hospital.site_id, weights=stepped, num_examples=hospital.num_cases))
    return federated_average(updates, shares)


def largest_difference(first: StateDict, second: StateDict) -> float:
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize("source_weight", [0.5, 0.8, None], ids=["half", "most", "by-cases"])
def test_one_round_of_single_steps_is_one_centralised_step_whatever_the_shares(
    hospitals: list[Hospital], weights: StateDict, teacher: nn.Module, source_weight: float | None
) -> None:
    centralised = centralised_step(hospitals, weights, teacher)
    federated = federated_step(hospitals, weights, teacher, source_weight=source_weight)
    assert largest_difference(centralised, weights) > 1e-4
    assert largest_difference(federated, centralised) < 1e-5


def test_every_site_has_a_say_in_the_step(hospitals: list[Hospital], weights: StateDict, teacher: nn.Module) -> None:
    for absent in hospitals:
        others = [hospital for hospital in hospitals if hospital is not absent]
        blocks = {hospital.site_id: hospital.block for hospital in hospitals}
        student = segmenter(weights)
        terms = [loss_of(hospital, student, teacher, received_looks(hospital, blocks)) for hospital in others]
        without = sgd_step(student, torch.stack(terms).sum(), ETA)
        assert largest_difference(without, centralised_step(hospitals, weights, teacher)) > 1e-4


@pytest.mark.parametrize("whose", ["source", "targets"])
def test_with_the_looks_of_somebody_else_it_is_another_step(
    hospitals: list[Hospital], weights: StateDict, teacher: nn.Module, whose: str
) -> None:
    oxford, *targets = ({"oxford"}, *[{hospital.site_id} for hospital in hospitals[1:]])
    wrong = oxford if whose == "source" else set().union(*targets)
    stranger = torch.rand(2, 1, SIZE, SIZE, SIZE, generator=derive_generator(0, "stranger"))
    blocks = {
        hospital.site_id: mean_style_block(style_block(stranger, HALF_WIDTH))
        if hospital.site_id in wrong
        else hospital.block
        for hospital in hospitals
    }
    centralised = centralised_step(hospitals, weights, teacher)
    federated = federated_step(hospitals, weights, teacher, source_weight=0.5, blocks=blocks)
    assert largest_difference(federated, centralised) > 1e-5


def test_what_crosses_the_network_of_a_scan_is_its_block_alone(hospitals: list[Hospital]) -> None:
    # Half-width 4: 7 x 7 x 4 amplitudes for two scans of 16^3 voxels.
    assert all(hospital.block.shape == (1, 1, 7, 7, 4) for hospital in hospitals)
