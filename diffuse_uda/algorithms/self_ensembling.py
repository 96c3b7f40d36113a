"""Losses of the two mean teachers of MT-UDA and LE-UDA: one inside a look, one between the looks of one anatomy."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

Probabilities = Float[Tensor, "batch klass i j k"]
Volumes = Float[Tensor, "batch 1 i j k"]

NOISE_STD = 0.1
"""Of the noise on what the intra-domain teacher sees, in intensities of [0, 1]."""
LARGEST_NOISE = 0.2
_SMALLEST_PROBABILITY = 1e-6


def teacher_noise(volumes: Volumes, generator: torch.Generator) -> Volumes:
    """Add noise clipped to twice its deviation inside the body (arXiv:2203.12454, intra-domain teacher).

    Args:
        volumes: Intensities in [0, 1]; zero is air and stays zero.
        generator: CPU generator; results do not depend on the volumes' device.
    """
    noise = torch.randn(volumes.shape, generator=generator).mul_(NOISE_STD).clamp_(-LARGEST_NOISE, LARGEST_NOISE)
    return (volumes + noise.to(volumes)).clamp(0.0, 1.0) * (volumes > 0)


def intra_domain_consistency(student: Probabilities, teacher: Probabilities) -> Float[Tensor, ""]:
    """Mean squared difference of the softmax of both on one look (arXiv:2203.12454, L_intra).

    Args:
        student: Softmax of the student on a volume.
        teacher: Softmax of the teacher on the same volume with noise; gets no gradient.

    Returns:
        The mean over batch, classes and voxels, in [0, 1].

    Raises:
        ValueError: If the shapes differ.
    """
    _require_equal_shapes(student, teacher)
    return mse_loss(student, teacher.detach())


def self_information(probabilities: Probabilities) -> Probabilities:
    """-p log p of every class and voxel, the entropy before it is summed (arXiv:1811.12833, eq. 2).

    A voxel whose class is certain has none; the most a class can have is 1 / e, at p = 1 / e.

    Args:
        probabilities: Softmax in [0, 1].
    """
    return -probabilities * probabilities.clamp_min(_SMALLEST_PROBABILITY).log()


def inter_domain_consistency(student: Probabilities, teacher: Probabilities) -> Float[Tensor, ""]:
    """Mean squared difference of the self-information of one anatomy in two looks (arXiv:2203.12454, L_inter).

    It asks for the same doubts, hence the same borders, in both looks, and leaves which class is meant to the losses
    that know: alone it would be content with exchanged classes.

    Args:
        student: Softmax of the student on the source-like volume.
        teacher: Softmax of the teacher on the target-like volume of the same anatomy; gets no gradient.

    Returns:
        The mean over batch, classes and voxels, in [0, exp(-2)].

    Raises:
        ValueError: If the shapes differ.
    """
    _require_equal_shapes(student, teacher)
    return mse_loss(self_information(student), self_information(teacher.detach()))


def _require_equal_shapes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        msg = f"student and teacher must have one shape, found {tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ValueError(msg)
