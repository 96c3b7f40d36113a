"""Laws of the cross-paired consistency and its ramp."""

from __future__ import annotations

import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from diffuse_uda.algorithms.consistency import cross_paired_consistency, ramp_up


def constant(value: float) -> Float[Tensor, "1 2 2 2 2"]:
    """Two classes of probability `value` and 1 - `value` everywhere."""
    return torch.tensor([value, 1.0 - value]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 2).clone()


def test_the_student_on_one_look_answers_to_the_teacher_on_the_other() -> None:
    # Student: 0.9 on the swapped look, 0.4 on the original. Teacher: 0.7 on the original, 0.5 on the swapped.
    # Crossed: (0.9 - 0.7)^2 + (0.4 - 0.5)^2 = 0.05; paired straight it would be 0.16 + 0.09.
    loss = cross_paired_consistency(constant(0.9), constant(0.4), constant(0.7), constant(0.5))
    assert loss.item() == pytest.approx(0.05)


def test_agreement_costs_nothing() -> None:
    assert cross_paired_consistency(*[constant(0.3)] * 4).item() == 0.0


def test_the_teacher_gets_no_gradient_and_the_student_does() -> None:
    volumes = [constant(value).requires_grad_() for value in (0.9, 0.4, 0.7, 0.5)]
    cross_paired_consistency(*volumes).backward()  # type: ignore[no-untyped-call]
    assert [volume.grad is not None for volume in volumes] == [True, True, False, False]


def test_volumes_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        cross_paired_consistency(constant(0.1), constant(0.1), constant(0.1)[:, :1], constant(0.1))


@pytest.mark.parametrize(("progress", "share"), [(0.0, math.exp(-5.0)), (0.5, math.exp(-1.25)), (1.0, 1.0)])
def test_the_ramp_starts_near_nothing_and_ends_at_its_maximum(progress: float, share: float) -> None:
    assert ramp_up(progress, 200.0) == pytest.approx(200.0 * share)


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_progress_outside_of_the_training_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match=r"progress must be in \[0, 1\]"):
        ramp_up(progress, 200.0)
