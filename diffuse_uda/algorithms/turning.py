"""A volume turned about its third axis: another view of the same scan."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from diffuse_uda.types import Spacing


def turned(
    volume: Float[Tensor, "channel i j k"], *, degrees: float, spacing_mm: Spacing
) -> Float[Tensor, "channel i j k"]:
    """Turn a volume in its i-j plane about its centre, by trilinear interpolation; zeros come in from outside.

    Args:
        volume: Any channels; probabilities lack their background where zeros came in.
        degrees: From axis i towards axis j.
        spacing_mm: Of the voxels: a turn in millimetres, not in voxels, so that a ball stays a ball.
    """
    half_i, half_j, _ = (size * step / 2 for size, step in zip(volume.shape[1:], spacing_mm, strict=True))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # `affine_grid` speaks of (k, j, i), from -1 to 1, and says where each new voxel comes from: the turn backwards.
    come_from = torch.tensor(
        [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, cos, -sin * half_i / half_j, 0.0],
            [0.0, sin * half_j / half_i, cos, 0.0],
        ],
        dtype=volume.dtype,
        device=volume.device,
    )
    grid = F.affine_grid(come_from[None], [1, *volume.shape], align_corners=False)
    return F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
