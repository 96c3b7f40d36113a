"""How far an exported model is from the original, on the same inputs; beyond the limit it is not handed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from diffuse_uda.config import GridConfig
from diffuse_uda.data.cases import prepare_volume
from diffuse_uda.errors import ReleaseError
from diffuse_uda.export.check_scan import check_scan
from diffuse_uda.types import Triple

MAX_LOGIT_DIFFERENCE = 1e-3
"""Largest difference of any logit."""


def check_batches(grid: GridConfig, *, seed: int = 0) -> list[Tensor]:
    """Inputs of one patch: noise, alone and three at a time, and a piece of a scan as the network would see it."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.rand((3, 1, *grid.patch_size), generator=draw)
    case = prepare_volume("", check_scan(grid, seed=seed), None, grid.spacing_mm, grid.patch_size)
    i, j, k = _middle(case.image.shape[1:], grid.patch_size)
    realistic = case.image[:, i, j, k][None]
    return [noise[:1], noise, realistic]


def _middle(shape: Sequence[int], patch: Triple) -> tuple[slice, slice, slice]:
    i, j, k = (slice((n - wanted) // 2, (n - wanted) // 2 + wanted) for n, wanted in zip(shape, patch, strict=True))
    return i, j, k


@torch.no_grad()
def require_same_logits(
    what: str, original: nn.Module, exported: Callable[[Tensor], Tensor], batches: Sequence[Tensor]
) -> float:
    """Compare an exported network with the original.

    Args:
        what: Its name, for the message.
        original: On the CPU, in evaluation mode.
        exported: The other one.
        batches: Inputs, from `check_batches`.

    Returns:
        Largest difference of any logit.

    Raises:
        ReleaseError: If it is larger than `MAX_LOGIT_DIFFERENCE`, or a number is not finite.
    """
    largest = 0.0
    for batch in batches:
        difference = float((original(batch) - exported(batch)).abs().max())
        if not difference <= MAX_LOGIT_DIFFERENCE:
            msg = (
                f"{what}: logits differ from the model's by {difference:.3g} on a batch of {len(batch)}; allowed "
                f"{MAX_LOGIT_DIFFERENCE:g}. It is not released; export without it, or with other library versions"
            )
            raise ReleaseError(msg)
        largest = max(largest, difference)
    return largest
