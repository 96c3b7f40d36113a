"""Structures of other sizes: what age and illness do to an anatomy, and another hospital's patients have more of.

A source of healthy volunteers has never seen an enlarged ventricle. Elastic deformation moves structures about without
changing their volume much; here one structure is blown up or shrunk on purpose, and its surroundings give way.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

Positions = npt.NDArray[np.float32]

NOTABLE_RATIO = 1.4
"""A structure that is so much larger or smaller elsewhere is always a candidate."""
LARGEST_RATIO = 4.0
"""Pseudo-labels that claim more have missed a structure; a border that far away would run over its neighbours."""
CANDIDATE_PROBABILITY = 0.7
SPARE_RATIO = 1.35
"""How far beyond the known ratio, and below none, a draw may go: numbers of pseudo-labels are estimates."""
LARGEST_SHARE = 0.3
"""Structures with a larger share of all labelled voxels are what gives way, and keep their size."""
FEWEST_VOXELS = 10
LARGEST_STEP = 0.075
"""Of a structure's border, as a share of the shortest side."""
_SMOOTHING_VOXELS = 1.0
_SMALLEST_SLOPE = 0.5
_REACH = 3
_SQUARINGS = 4
"""Sixteen small steps: the longest takes a border a quarter of a voxel at the sizes trained on."""


def random_sizes(
    label_map: Int[Tensor, "batch 1 i j k"], ratios: Float[Tensor, "batch klass"], generator: torch.Generator
) -> Float[Tensor, "batch i j k 3"]:
    """Draw a displacement that changes the size of one or more structures of every sample.

    Every structure whose volume differs notably elsewhere, and one other, gets a new volume; its logarithm is drawn
    between those of 1 and of the ratio, with something to spare at both ends. Its border moves along the gradient of
    the signed distance as far as that volume needs; the movement fades with the distance from the new border. What all
    structures want adds up to a velocity, and following it for one unit of time folds nothing (scaling and squaring,
    Arsigny et al. 2006): structures that grow into each other push instead of tearing.

    Args:
        label_map: Class of every voxel.
        ratios: Volume of every class elsewhere in units of its volume here; 0 where nothing is known.
        generator: CPU generator. Computed on the CPU.

    Returns:
        Displacements in voxels along i, j and k: an output voxel at p shows the input at p + displacement.
    """
    velocities = [
        _one_sample(sample[0].cpu().numpy(), wanted.double().cpu().numpy(), generator)
        for sample, wanted in zip(label_map, ratios, strict=True)
    ]
    return _followed(torch.from_numpy(np.stack(velocities))).to(label_map.device)


def displaced(
    displacement: Float[Tensor, "batch i j k 3"], grid: Float[Tensor, "batch i j k 3"]
) -> Float[Tensor, "batch i j k 3"]:
    """Put a displacement (in voxels) before a sampling grid, so that both take one interpolation.

    Args:
        displacement: What `random_sizes` draws.
        grid: What `random_deformation` draws, in the convention of torch's `grid_sample`.

    Returns:
        A sampling grid that shows the displaced volume at the positions of `grid`.
    """
    return grid + _sampled(_normalised(displacement.to(grid)), grid)


def _followed(velocity: Float[Tensor, "batch i j k 3"]) -> Float[Tensor, "batch i j k 3"]:
    """Displacement of whoever follows a velocity, both in voxels, for one unit of time: small steps, doubled."""
    shape = velocity.shape[1:4]
    one = torch.eye(3, 4).expand(len(velocity), 3, 4)
    still: Tensor = F.affine_grid(one, [len(velocity), 1, *shape], align_corners=True)
    moved = _normalised(velocity) / (1 << _SQUARINGS)
    for _ in range(_SQUARINGS):
        moved = moved + _sampled(moved, still + moved)
    return moved.flip(-1) * _half_extent(velocity)


def _half_extent(field: Float[Tensor, "batch i j k 3"]) -> Float[Tensor, " 3"]:
    """Voxels from the middle of a volume to its last voxel, along i, j and k."""
    return torch.tensor([(max(size, 2) - 1) / 2 for size in field.shape[1:4]], device=field.device)


def _normalised(displacement: Float[Tensor, "batch i j k 3"]) -> Float[Tensor, "batch i j k 3"]:
    """From voxels along i, j, k to what torch's `grid_sample` calls x, y, z: k, j, i in [-1, 1]."""
    return (displacement / _half_extent(displacement)).flip(-1)


def _sampled(
    field: Float[Tensor, "batch i j k 3"], grid: Float[Tensor, "batch i j k 3"]
) -> Float[Tensor, "batch i j k 3"]:
    """Vectors of a field at the positions of a sampling grid."""
    found: Tensor = F.grid_sample(
        field.movedim(-1, 1), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return found.movedim(1, -1)


def _one_sample(
    classes: npt.NDArray[np.uint8], ratios: npt.NDArray[np.float64], generator: torch.Generator
) -> Positions:
    velocity = np.zeros((*classes.shape, 3), dtype=np.float32)
    counts = np.bincount(classes.ravel(), minlength=len(ratios))
    largest = LARGEST_SHARE * counts[1:].sum()
    movable = [klass for klass in range(1, len(ratios)) if FEWEST_VOXELS <= counts[klass] <= largest]
    if not movable:
        return velocity
    logarithms = {klass: _bounded_logarithm(ratios[klass]) for klass in movable}
    chosen = [
        klass
        for klass in movable
        if abs(logarithms[klass]) > math.log(NOTABLE_RATIO) and _uniform(0, 1, generator) < CANDIDATE_PROBABILITY
    ]
    other = movable[int(torch.randint(len(movable), (), generator=generator))]
    spare = math.log(SPARE_RATIO)
    for klass in dict.fromkeys([*chosen, other]):
        low, high = min(0.0, logarithms[klass]) - spare, max(0.0, logarithms[klass]) + spare
        _resize(velocity, classes == klass, math.exp(_uniform(low, high, generator)))
    return velocity


def _bounded_logarithm(ratio: float) -> float:
    """Logarithm of a known ratio, within reason; 0 where nothing is known."""
    return max(-math.log(LARGEST_RATIO), min(math.log(LARGEST_RATIO), math.log(ratio))) if ratio > 0 else 0.0


def _resize(velocity: Positions, inside: npt.NDArray[np.bool_], ratio: float) -> None:
    """Add the movement that gives one structure `ratio` times its volume; only its neighbourhood is looked at."""
    largest_step = LARGEST_STEP * min(inside.shape)
    margin = math.ceil(_REACH * largest_step)
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    near = tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(box, inside.shape, strict=True)
    )
    structure = inside[near]
    # distances from voxel centre to voxel centre: the border lies half a voxel nearer on both sides
    outward = ndimage.distance_transform_edt(~structure) - ndimage.distance_transform_edt(structure)
    outward -= 0.5 * np.sign(outward)
    distance = ndimage.gaussian_filter(outward.astype(np.float32), _SMOOTHING_VOXELS, truncate=3.0)
    count, last = int(structure.sum()), distance.size - 1
    ranks = [min(last, count), min(last, max(0, round(count * ratio)))]
    now, then = np.partition(distance, ranks, axis=None)[ranks]
    step = float(np.clip(then - now, -largest_step, largest_step))
    direction = np.stack(np.gradient(distance), axis=-1)
    # along a structure's middle the gradient vanishes, and so has the movement to
    direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), _SMALLEST_SLOPE)
    fading = np.exp(-0.5 * (np.maximum(distance - max(step, 0.0), 0.0) / largest_step) ** 2)
    velocity[near] -= (step * fading)[..., None] * direction


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return float(torch.empty(()).uniform_(low, high, generator=generator))
