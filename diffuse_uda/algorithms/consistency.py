"""Cross-paired consistency of ASC: the student on one look must agree with the teacher on the other."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

Probabilities = Float[Tensor, "batch klass i j k"]


def cross_paired_consistency(
    student_on_swapped: Probabilities,
    student_on_original: Probabilities,
    teacher_on_original: Probabilities,
    teacher_on_swapped: Probabilities,
) -> Float[Tensor, ""]:
    """MSE(S(mix(xt2s)), mix(T(xt))) + MSE(S(mix(xt)), mix(T(xt2s))) of ASC (arXiv:2310.14172).

    Pairing each student with the teacher on the *other* look asks for one answer that does not depend on the
    look; mixing before the student and after the teacher asks for one that does not depend on the surroundings.

    Args:
        student_on_swapped: Softmax of the student on the mix of the target scans in the source's look, mix(xt2s).
        student_on_original: Softmax of the student on the mix of the target scans as they are, mix(xt).
        teacher_on_original: Softmax of the teacher on xt, mixed by the same mask afterwards.
        teacher_on_swapped: Softmax of the teacher on xt2s, mixed by the same mask afterwards.

    Returns:
        The sum of both mean squared errors (over batch, classes and voxels), in [0, 2]. No gradient reaches the
        teacher.

    Raises:
        ValueError: If the four volumes differ in shape.
    """
    shapes = [
        tuple(probabilities.shape)
        for probabilities in (student_on_swapped, student_on_original, teacher_on_original, teacher_on_swapped)
    ]
    if len(set(shapes)) > 1:
        msg = f"student and teacher probabilities must have one shape, found {shapes}"
        raise ValueError(msg)
    return mse_loss(student_on_swapped, teacher_on_original.detach()) + mse_loss(
        student_on_original, teacher_on_swapped.detach()
    )


def ramp_up(progress: float, lambda_max: float) -> float:
    """Weight of the consistency, lambda_max * exp(-5 (1 - progress)^2) (Laine and Aila 2017, arXiv:1610.02242).

    The teacher knows nothing at first; its word counts 0.7 % of lambda_max at the start and all of it at the end.

    Args:
        progress: Share of the training that is done, in [0, 1].
        lambda_max: Weight at the end; 200 or 300 in ASC, because the error is a mean over classes and voxels.

    Returns:
        The weight, in [lambda_max * exp(-5), lambda_max].

    Raises:
        ValueError: If the progress is outside [0, 1] or not a number.
    """
    if not 0.0 <= progress <= 1.0:
        msg = f"progress must be in [0, 1], got {progress}: pass rounds done / all rounds"
        raise ValueError(msg)
    return lambda_max * math.exp(-5.0 * (1.0 - progress) ** 2)
