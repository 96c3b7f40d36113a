"""Laws of CutMix, flips and deformations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.structure import (
    DeformationRanges,
    cut_mix,
    deform_image,
    deform_label_map,
    random_box_mask,
    random_deformation,
    random_flip,
)
from diffuse_uda.errors import GeometryError

UNEVEN = (10, 14, 12)
STILL = DeformationRanges(rotation_degrees=(0.0, 0.0), scale=(1.0, 1.0), shift=(0.0, 0.0), elastic=(0.0, 0.0))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _ranges(
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: float = 0.0,
    elastic: tuple[float, float] = (0.0, 0.0),
) -> DeformationRanges:
    return DeformationRanges(
        rotation_degrees=(degrees, degrees), scale=(scale, scale), shift=(shift, shift), elastic=elastic
    )


def _balls(shape: tuple[int, int, int]) -> Tensor:
    """Label map of nested balls: 2 within 3 voxels of the centre, 5 within 5, else 0."""
    axes = [torch.arange(size) - (size - 1) / 2 for size in shape]
    radius = sum(axis.square() for axis in torch.meshgrid(*axes, indexing="ij"))
    assert isinstance(radius, Tensor)
    label_map = torch.where(radius < 25, 5, 0)
    return torch.where(radius < 9, 2, label_map)[None, None]


def _displacement_voxels(batch_size: int, shape: tuple[int, int, int], ranges: DeformationRanges) -> Tensor:
    """What the field adds to each voxel's own position, in voxels, order (i, j, k)."""
    moved = random_deformation(batch_size, shape, _seeded(0), ranges)
    still = random_deformation(batch_size, shape, _seeded(0), STILL)
    return (moved - still).flip(-1) * (torch.tensor(shape) - 1) / 2


def test_the_box_covers_between_an_eighth_and_35_percent() -> None:
    # Sides are 0.5 to 0.7071 of each axis: 20..28, 24..34 and 20..28 voxels.
    generator = _seeded(0)
    volumes = 40 * 48 * 40
    for _ in range(100):
        mask = random_box_mask((40, 48, 40), generator)
        assert mask.shape == (1, 1, 40, 48, 40)
        inside = mask[0, 0].nonzero()
        sides = inside.amax(dim=0) - inside.amin(dim=0) + 1
        assert int(mask.sum()) == inside.shape[0] == int(sides.prod())  # one solid box of ones
        assert torch.equal(torch.unique(mask), torch.tensor([0.0, 1.0]))
        assert 20 * 24 * 20 / volumes <= float(mask.mean()) <= 28 * 34 * 28 / volumes
        assert abs(int(sides[0]) * 48 - int(sides[1]) * 40) <= 44  # the same fraction of every axis, up to rounding


def test_boxes_reach_every_corner_and_differ() -> None:
    generator = _seeded(0)
    masks = torch.cat([random_box_mask((4, 6, 5), generator) for _ in range(200)])
    assert bool((masks.amax(dim=0) == 1).all())
    assert bool((masks.amin(dim=0)[0, 0, 0] == 0).all())
    assert torch.equal(random_box_mask((4, 6, 5), _seeded(0))[0], masks[0])


def test_cut_mix_takes_the_box_from_the_second_volume() -> None:
    pair = torch.stack([torch.full((2, 3, 3, 3), 0.25), torch.full((2, 3, 3, 3), 0.75)])
    mask = torch.zeros(1, 1, 3, 3, 3)
    mask[..., :1] = 1.0
    mixed = cut_mix(pair, mask)
    assert mixed.shape == (1, 2, 3, 3, 3)
    assert bool((mixed[..., :1] == 0.75).all())
    assert bool((mixed[..., 1:] == 0.25).all())


@pytest.mark.parametrize("shape", [(1, 1, 3, 3, 3), (3, 1, 3, 3, 3), (2, 1, 3, 3, 4)])
def test_cut_mix_refuses_other_than_two_volumes_on_the_masks_grid(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="two volumes"):
        cut_mix(torch.zeros(shape), torch.zeros(1, 1, 3, 3, 3))


def test_flips_are_shared_by_all_tensors_and_drawn_for_each_sample() -> None:
    image = torch.rand((16, 1, 4, 3, 2), generator=_seeded(1))
    label_map = (image * 5).long()
    flipped_image, flipped_labels = random_flip([image, label_map], _seeded(0))
    assert torch.equal((flipped_image * 5).long(), flipped_labels)
    kept = sum(torch.equal(a, b) for a, b in zip(flipped_image, image, strict=True))
    mirrored = sum(torch.equal(a, b) for a, b in zip(flipped_image, image.flip(2), strict=True))
    assert kept + mirrored == 16
    assert 3 <= kept <= 13


def test_flips_go_along_the_asked_axis() -> None:
    image = torch.rand((2, 1, 4, 3, 2), generator=_seeded(1))
    assert torch.equal(random_flip([image], _seeded(0), axis=2, probability=1.0)[0], image.flip(4))
    assert torch.equal(random_flip([image], _seeded(0), probability=0.0)[0], image)


def test_a_still_field_changes_nothing() -> None:
    image, label_map = torch.rand((1, 2, *UNEVEN), generator=_seeded(1)), _balls(UNEVEN)
    grid = random_deformation(1, UNEVEN, _seeded(0), STILL)
    torch.testing.assert_close(deform_image(image, grid), image, atol=1e-5, rtol=0)
    assert torch.equal(deform_label_map(label_map, grid), label_map)


def test_a_shift_is_a_fraction_of_every_axis() -> None:
    # 0.1 of 10, 20 and 30 voxels: the anatomy moves by (1, 2, 3).
    image = torch.zeros(1, 1, 10, 20, 30)
    image[0, 0, 4, 4, 4] = 1.0
    moved = deform_image(image, random_deformation(1, (10, 20, 30), _seeded(0), _ranges(shift=0.1)))
    expected = torch.zeros_like(image)
    expected[0, 0, 5, 6, 7] = 1.0
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_half_the_scale_halves_the_anatomy() -> None:
    # 17 voxels wide around the centre become 9: offsets up to 4 show offsets up to 8.
    label_map = torch.zeros(1, 1, 33, 33, 33, dtype=torch.long)
    label_map[..., 8:25, 8:25, 8:25] = 3
    small = deform_label_map(label_map, random_deformation(1, (33, 33, 33), _seeded(0), _ranges(scale=0.5)))
    expected = torch.zeros_like(label_map)
    expected[..., 12:21, 12:21, 12:21] = 3
    assert torch.equal(small, expected)


def test_a_rotation_keeps_distances_on_an_uneven_grid() -> None:
    # Rigid in voxels: neighbouring voxels stay one voxel apart along every axis, at right angles.
    displacement = _displacement_voxels(1, UNEVEN, _ranges(degrees=8.0))[0]
    axes = torch.eye(3)
    edges = (
        torch.stack([displacement[1, 0, 0], displacement[0, 1, 0], displacement[0, 0, 1]])
        - displacement[0, 0, 0]
        + axes
    )
    torch.testing.assert_close(edges @ edges.T, axes, atol=1e-4, rtol=0)
    assert float(edges[0, 1].abs()) > 0.1  # sin 8 degrees is 0.139


def test_a_quarter_turn_about_every_axis_permutes_a_cube() -> None:
    # 90 degrees about i, then j, then k equal 90 degrees about j: the cube's voxels only change places.
    image = torch.rand((1, 1, 5, 5, 5), generator=_seeded(1))
    turned = deform_image(image, random_deformation(1, (5, 5, 5), _seeded(0), _ranges(degrees=90.0)))
    candidates = [torch.rot90(image, quarter, dims=(2, 4)) for quarter in (1, 3)]
    assert min(float((turned - candidate).abs().max()) for candidate in candidates) < 1e-4


@pytest.mark.parametrize(("size", "expected"), [(40, 1.2), (20, 0.6)])
def test_elastic_displacement_grows_with_the_volume(size: int, expected: float) -> None:
    # 3.7 voxels RMS at 128^3 is 0.0289 of the side: 1.16 voxels at 40, 0.58 at 20; half of the side as well.
    displacement = _displacement_voxels(32, (size, size, size), _ranges(elastic=(-3.0, 3.0)))
    assert float(displacement.square().mean().sqrt()) == pytest.approx(expected, rel=0.08)


def test_elastic_displacement_is_isotropic_in_voxels_and_smooth() -> None:
    displacement = _displacement_voxels(32, (20, 40, 20), _ranges(elastic=(-3.0, 3.0)))
    rms = displacement.square().mean(dim=(0, 1, 2, 3)).sqrt()
    assert rms.tolist() == pytest.approx([0.58] * 3, rel=0.15)
    # No folding: neighbours never come closer than half a voxel.
    assert float(displacement[..., 0].diff(dim=1).min()) > -0.5


def test_image_and_label_map_move_by_one_field() -> None:
    # Deformed as an image, the label map agrees with itself wherever interpolation didn't mix labels.
    shape = (20, 24, 22)
    label_map = _balls(shape).expand(3, -1, -1, -1, -1)
    grid = random_deformation(3, shape, _seeded(2))
    moved = deform_label_map(label_map, grid)
    as_image = deform_image(label_map.float(), grid)
    assert moved.dtype == label_map.dtype
    assert set(torch.unique(moved).tolist()) <= {0, 2, 5}
    assert not torch.equal(moved, label_map)
    pure = torch.stack([(as_image - value).abs() < 1e-4 for value in (0, 2, 5)]).any(dim=0)
    # The balls' surfaces are about 7 % of the volume.
    assert float(pure.float().mean()) > 0.85
    torch.testing.assert_close(as_image[pure], moved[pure].float(), atol=1e-3, rtol=0)


def test_autocast_does_not_move_the_grid() -> None:
    plain = random_deformation(1, UNEVEN, _seeded(0))
    with torch.autocast("cpu", torch.bfloat16):
        lowered = random_deformation(1, UNEVEN, _seeded(0))
    assert torch.equal(lowered, plain)


def test_outside_is_background() -> None:
    grid = random_deformation(1, UNEVEN, _seeded(0), _ranges(shift=2.0))
    assert not bool(deform_image(torch.ones(1, 1, *UNEVEN), grid).any())
    assert not bool(deform_label_map(torch.ones(1, 1, *UNEVEN, dtype=torch.long), grid).any())


def test_equal_seeds_give_equal_fields_and_samples_differ() -> None:
    first, again, other = (random_deformation(2, UNEVEN, _seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
    assert not torch.allclose(first[0], first[1], atol=1e-3)
