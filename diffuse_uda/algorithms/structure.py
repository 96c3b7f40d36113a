"""Changes of structure: box CutMix of two volumes, flips, and deformations that move image and label map together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from diffuse_uda.errors import GeometryError
from diffuse_uda.types import Triple

Range = tuple[float, float]
"""Lowest and highest value of a uniform draw."""

BOX_RANGE: Range = (0.25, 0.5)
NUM_SMOOTHINGS = 4
SMOOTHING_SIZE = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DeformationRanges:
    """What a random deformation may do; the defaults are those of Diffuse-UDA (arXiv:2408.05985)."""

    rotation_degrees: Range = (-8.0, 8.0)
    """About each of the three axes through the centre, one draw an axis."""
    scale: Range = (0.95, 1.0)
    """Size of the anatomy afterwards; below 1 it shrinks and zeros come in from outside."""
    shift: Range = (-0.02, 0.02)
    """Shift along each axis, as a fraction of the field of view along it."""
    elastic: Range = (-3.0, 3.0)
    """Draws of the coarse elastic grid before smoothing, in half shortest sides; (0, 0) switches it off.

    Smoothing leaves 1.9 % of that: 0.058 half sides RMS along every axis, 3.7 voxels at 128^3 and 1.2 at 40^3.
    """
    num_knots: int = 10
    """Points of the coarse elastic grid along each axis."""


DIFFUSE_UDA_RANGES = DeformationRanges()


def random_box_mask(shape: Triple, generator: torch.Generator) -> Float[Tensor, "1 1 i j k"]:
    """Draw the one box of a CutMix step (ASC, arXiv:2310.14172): 1 inside, 0 outside.

    Its side is sqrt(U(0.25, 0.5)) of every axis, rounded to voxels, at a uniform place wholly inside the volume. It
    thus covers between 0.25^1.5 = 12.5 % and 0.5^1.5 = 35.4 % of the volume.
    """
    fraction = torch.empty(()).uniform_(*BOX_RANGE, generator=generator).item() ** 0.5
    box = []
    for size in shape:
        side = max(1, round(fraction * size))
        start = int(torch.randint(size - side + 1, (), generator=generator))
        box.append(slice(start, start + side))
    mask = torch.zeros((1, 1, *shape))
    mask[0, 0, box[0], box[1], box[2]] = 1.0
    return mask


def cut_mix(
    pair: Float[Tensor, "2 channel i j k"], mask: Float[Tensor, "1 1 i j k"]
) -> Float[Tensor, "1 channel i j k"]:
    """Paste a box of the second volume into the first (CutMix, arXiv:1905.04899, eq. 1): a[0] * (1 - m) + a[1] * m.

    Raises:
        GeometryError: If there aren't exactly two volumes, or the mask has another grid.
    """
    if pair.shape[0] != 2 or pair.shape[2:] != mask.shape[2:]:
        msg = f"cut_mix needs two volumes on the mask's grid, got {tuple(pair.shape)} and mask {tuple(mask.shape)}"
        raise GeometryError(msg)
    return torch.lerp(pair[:1], pair[1:], mask.to(pair))


def random_flip(
    tensors: Sequence[Tensor], generator: torch.Generator, *, axis: int = 0, probability: float = 0.5
) -> list[Tensor]:
    """Mirror samples along one voxel axis, with one draw a sample shared by all tensors.

    Args:
        tensors: Volumes or label maps of shape (batch, channel, i, j, k) with the same batch. Labels that tell left
            from right would be wrong afterwards.
        generator: CPU generator.
        axis: Voxel axis, 0 for i: left-right in volumes oriented to RAS+.
        probability: Chance that a sample is mirrored.

    Returns:
        The tensors in the same order.
    """
    draws = torch.rand((tensors[0].shape[0], 1, 1, 1, 1), generator=generator) < probability
    return [torch.where(draws.to(tensor.device), tensor.flip(2 + axis), tensor) for tensor in tensors]


def random_deformation(
    batch_size: int,
    shape: Triple,
    generator: torch.Generator,
    ranges: DeformationRanges = DIFFUSE_UDA_RANGES,
    *,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "batch i j k 3"]:
    """Draw one sampling grid a sample: rotation, scale, shift and elastic displacement.

    An output voxel at offset p from the centre (in voxels) shows the input at R p / scale - shift + elastic(p).
    Everything is done in voxels, so an uneven shape doesn't shear; spacing is assumed isotropic (resample first).

    The elastic field follows Diffuse-UDA: a coarse grid of uniform draws, smoothed four times by a 5^3 box (the grid
    wraps around, so that the border moves as much as the centre), upsampled linearly. Draws are in half sides of the
    shortest axis, equal for all axes: the displacement grows with the volume and is isotropic in voxels.

    Args:
        batch_size: Grids to draw.
        shape: Voxels along i, j and k.
        generator: CPU generator; the grid doesn't depend on the device.
        ranges: What may be drawn.
        device: Where the grid is computed.

    Returns:
        Positions for `deform_image` and `deform_label_map`, in torch's `grid_sample` convention: last dimension in
        order (k, j, i), -1 and 1 at the centres of the outermost voxels.
    """
    with torch.autocast(torch.device(device).type, enabled=False):  # positions need their 24 bits
        angles = torch.empty((batch_size, 3)).uniform_(*ranges.rotation_degrees, generator=generator).deg2rad_()
        scale = torch.empty((batch_size, 1, 1)).uniform_(*ranges.scale, generator=generator)
        shift = torch.empty((batch_size, 3)).uniform_(*ranges.shift, generator=generator) * torch.tensor(shape)
        sampling = (_rotations(angles) / scale).to(device)
        positions = -shift.view(-1, 1, 1, 1, 3).to(device)
        # Sums of products instead of one matrix product: TF32 would place voxels a tenth of a voxel off.
        for axis, size in enumerate(shape):
            offsets = torch.arange(size, device=device) - (size - 1) / 2
            along_axis = [-1 if other == axis else 1 for other in range(3)]
            positions = positions + sampling[:, None, None, None, :, axis] * offsets.view(1, *along_axis, 1)
        if ranges.elastic != (0.0, 0.0):
            positions += _elastic_field(batch_size, shape, generator, ranges, device)
        half_extents = [(max(size, 2) - 1) / 2 for size in shape]
        return positions.div_(torch.tensor(half_extents, device=device)).flip(-1)


def deform_image(
    volumes: Float[Tensor, "batch channel i j k"], grid: Float[Tensor, "batch i j k 3"]
) -> Float[Tensor, "batch channel i j k"]:
    """Resample volumes linearly at the grid's positions; outside the volume is 0."""
    moved: Tensor = F.grid_sample(volumes, grid.to(volumes), mode="bilinear", padding_mode="zeros", align_corners=True)
    return moved


def deform_label_map(
    label_map: Int[Tensor, "batch 1 i j k"], grid: Float[Tensor, "batch i j k 3"]
) -> Int[Tensor, "batch 1 i j k"]:
    """Resample label maps at the nearest voxel, so that no new label appears; outside the volume is 0, background."""
    # float32 holds every integer up to 2^24 exactly, and grid_sample takes no integers.
    labels = label_map.float()
    moved: Tensor = F.grid_sample(labels, grid.to(labels), mode="nearest", padding_mode="zeros", align_corners=True)
    return moved.to(label_map.dtype)


def _rotations(angles: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rotate about i, then j, then k, by angles in radians."""
    generators = torch.zeros((3, 3, 3))
    for axis, (row, column) in enumerate([(2, 1), (0, 2), (1, 0)]):
        generators[axis, row, column], generators[axis, column, row] = 1.0, -1.0
    about_i, about_j, about_k = torch.linalg.matrix_exp(angles[..., None, None] * generators).unbind(dim=1)
    rotations: Tensor = about_k @ about_j @ about_i
    return rotations


def _elastic_field(
    batch_size: int,
    shape: Triple,
    generator: torch.Generator,
    ranges: DeformationRanges,
    device: torch.device | str,
) -> Float[Tensor, "batch i j k 3"]:
    """Draw a smooth displacement in voxels."""
    num_knots = ranges.num_knots
    coarse = torch.empty((batch_size, num_knots, num_knots, num_knots, 3))
    coarse = coarse.uniform_(*ranges.elastic, generator=generator).mul_(min(shape) / 2).to(device)
    # Box smoothing and linear upsampling act on each axis alone: one small matrix an axis does both.
    knots = torch.arange(num_knots)
    apart = (knots[:, None] - knots).abs()
    box = (torch.minimum(apart, num_knots - apart) <= SMOOTHING_SIZE // 2).float()
    box /= box.sum(dim=1, keepdim=True)
    smoothing = torch.linalg.matrix_power(box, NUM_SMOOTHINGS)
    to_i, to_j, to_k = (_upsampling(size, num_knots).matmul(smoothing).to(device) for size in shape)
    field = torch.einsum("ia,nabcd->nibcd", to_i, coarse)
    field = torch.einsum("jb,nibcd->nijcd", to_j, field)
    displacement: Tensor = torch.einsum("kc,nijcd->nijkd", to_k, field)
    return displacement


def _upsampling(size: int, num_knots: int) -> Float[Tensor, "voxel knot"]:
    """Weights of linear interpolation from knots to voxels, first and last of each coinciding."""
    positions = torch.linspace(0, num_knots - 1, size)
    return (1.0 - (positions[:, None] - torch.arange(num_knots)).abs()).clamp_min(0.0)
