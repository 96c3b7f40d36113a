"""Loss of one step, given its batch: the lines of the papers' algorithm boxes. No drawing, no state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffuse_uda.algorithms.consistency import cross_paired_consistency
from diffuse_uda.algorithms.losses import dice_ce_loss
from diffuse_uda.algorithms.structure import cut_mix

Network = Callable[[Tensor], Tensor]
"""Volumes in, logits out: a module or a functional call of one."""


def source_loss(
    student: Network,
    images: Float[Tensor, "batch 1 i j k"],
    aligned: Float[Tensor, "batch 1 i j k"],
    label_map: Int[Tensor, "batch 1 i j k"],
) -> Tensor:
    """L(S(xs), ys) + L(S(xs2t), ys) with L = Dice + cross-entropy (arXiv:2310.14172, supervised part).

    Args:
        student: The segmenter that learns.
        images: Source volumes xs.
        aligned: The same volumes in the other domain's look, xs2t.
        label_map: Their exact labels ys.
    """
    # One forward pass for both terms: the norms are per sample, so nothing leaks between them.
    logits = student(torch.cat([images, aligned]))
    plain, swapped = logits.chunk(2)
    return dice_ce_loss(plain, label_map) + dice_ce_loss(swapped, label_map)


def target_loss(
    student: Network,
    teacher: Network,
    images: Float[Tensor, "2 1 i j k"],
    swapped: Float[Tensor, "2 1 i j k"],
    mask: Float[Tensor, "1 1 i j k"] | None,
) -> Tensor:
    """Cross-paired consistency of two target volumes, mixed by one box (arXiv:2310.14172, consistency part).

    The student on the mixed, style-swapped volume has to match the teacher's mixed answer on the originals, and the
    other way round.

    Args:
        student: The segmenter that learns.
        teacher: Its moving average; gets no gradient.
        images: Two target volumes xt.
        swapped: The same in the source's look, xt2s.
        mask: The box of CutMix, 1 inside; None mixes nothing and uses both volumes whole (an ablation).
    """

    def mix(pair: Tensor) -> Tensor:
        return pair if mask is None else cut_mix(pair, mask)

    with torch.no_grad():
        on_original, on_swapped = teacher(torch.cat([images, swapped])).float().softmax(dim=1).chunk(2)
    student_swapped, student_original = student(torch.cat([mix(swapped), mix(images)])).float().softmax(dim=1).chunk(2)
    return cross_paired_consistency(student_swapped, student_original, mix(on_original), mix(on_swapped))
