"""Self-ensembling adversarial learning of LE-UDA: critics that tell a student's features from its teacher's.

Least squares (Mao et al. 2017, arXiv:1611.04076): no logarithm that saturates when a critic is sure. The teacher's
features are the real ones. Every site has both kinds, so no site's critic ever sees one class alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Verdicts = Float[Tensor, "batch 1 i j k"]
"""A critic's answer for every patch: 1 for the teacher's features, 0 for the student's."""


def critic_loss(on_student: Sequence[Verdicts], on_teacher: Sequence[Verdicts]) -> Float[Tensor, ""]:
    """Half the mean of D(student)^2 and half that of (D(teacher) - 1)^2, added over the decoder's levels.

    Args:
        on_student: Verdicts on the student's features, detached from the student, one tensor a level.
        on_teacher: Verdicts on the teacher's features, as many.

    Returns:
        0 for critics that are always right, a quarter a level for critics that answer 1/2.

    Raises:
        ValueError: If there are no levels, or not as many of both.
    """
    if not on_student or len(on_student) != len(on_teacher):
        msg = f"wanted verdicts on as many levels of student and teacher, found {len(on_student)} and {len(on_teacher)}"
        raise ValueError(msg)
    levels = [
        0.5 * student.square().mean() + 0.5 * (teacher - 1.0).square().mean()
        for student, teacher in zip(on_student, on_teacher, strict=True)
    ]
    return torch.stack(levels).sum()


def fooling_loss(on_student: Sequence[Verdicts]) -> Float[Tensor, ""]:
    """Mean of (D(student) - 1)^2, added over the levels: small where the student passes for its teacher.

    Args:
        on_student: Verdicts on the student's features; the critics' weights must not get its gradient.

    Raises:
        ValueError: If there are no levels.
    """
    if not on_student:
        msg = "there are no verdicts: wanted one tensor for every decoder level"
        raise ValueError(msg)
    return torch.stack([(verdict - 1.0).square().mean() for verdict in on_student]).sum()
