"""Structures that take other sizes."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from diffuse_uda.algorithms import structure_size
from diffuse_uda.algorithms.structure import DeformationRanges, deform_image, deform_label_map, random_deformation
from diffuse_uda.algorithms.structure_size import LARGEST_RATIO, LARGEST_STEP, SPARE_RATIO, displaced, random_sizes

SHAPE = (40, 44, 48)
STILL = DeformationRanges(rotation_degrees=(0.0, 0.0), scale=(1.0, 1.0), shift=(0.0, 0.0), elastic=(0.0, 0.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def identity(batch_size: int = 1) -> Tensor:
    return random_deformation(batch_size, SHAPE, generator(), STILL)


def ball(centre: tuple[int, int, int], radius: float) -> Tensor:
    offsets = [torch.arange(size) - middle for size, middle in zip(SHAPE, centre, strict=True)]
    axes = torch.meshgrid(*offsets, indexing="ij")
    return torch.stack([axis.square() for axis in axes]).sum(dim=0) <= radius**2


def anatomy() -> Tensor:
    """A large structure 1 with two balls in it: 2 of about 900 voxels, 3 of about 250."""
    label_map = ball((20, 22, 24), 16).to(torch.uint8)
    label_map[ball((14, 22, 24), 6)] = 2
    label_map[ball((28, 22, 24), 4)] = 3
    return label_map[None, None]


def resized(ratios: list[float], seed: int = 0) -> Tensor:
    label_map = anatomy()
    field = displaced(random_sizes(label_map, torch.tensor([ratios]), generator(seed)), identity())
    return deform_label_map(label_map, field)


def volume(label_map: Tensor, klass: int) -> float:
    return float((label_map == klass).sum())


@pytest.mark.parametrize("ratio", [2.0, 0.5])
def test_a_structure_that_is_larger_elsewhere_takes_volumes_from_here_to_there(
    ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure_size, "CANDIDATE_PROBABILITY", 1.0)
    before = volume(anatomy(), 2)
    found = [volume(resized([0.0, 1.0, ratio, 1.0], seed), 2) / before for seed in range(40)]
    low, high = sorted([1.0, ratio])
    assert low / SPARE_RATIO * 0.9 <= min(found) < low * 1.15
    assert high * 0.85 < max(found) <= high * SPARE_RATIO * 1.1
    # drawn evenly over the logarithm: half of them on either side of the middle
    assert float(np.median(np.log(found))) == pytest.approx(np.log(ratio) / 2, abs=0.25)


def test_structures_of_equal_volume_elsewhere_change_only_by_what_is_spare() -> None:
    before = anatomy()
    changes = np.array(
        [[volume(resized([1.0] * 4, seed), k) / volume(before, k) for k in (2, 3)] for seed in range(30)]
    )
    assert changes.max() < SPARE_RATIO * 1.15
    assert changes.min() > 0.85 / SPARE_RATIO
    # one of the two at a time
    assert (np.abs(changes - 1) > 0.05).sum(axis=1).max() == 1


def test_a_structure_stays_in_one_piece_and_where_it_was() -> None:
    for seed in range(10):
        mask = (resized([0.0, 1.0, 3.0, 1.0], seed)[0, 0] == 2).numpy()
        assert ndimage.label(mask)[1] == 1
        assert np.linalg.norm(np.array(ndimage.center_of_mass(mask)) - [14, 22, 24]) < 2.5


def test_the_border_moves_no_further_than_the_largest_step_and_far_away_nothing_moves() -> None:
    displacement = random_sizes(anatomy(), torch.tensor([[0.0, 1.0, 1000.0, 0.001]]), generator())
    length = displacement.norm(dim=-1)
    limit = LARGEST_STEP * min(SHAPE)
    assert float(length.max()) <= 2 * limit  # two structures side by side may add up
    assert float(length.max()) > 0.3 * limit
    assert float(length[:, :, :, :3].max()) < 0.05


def test_ratios_that_only_a_missed_structure_explains_count_as_the_largest_believed_one() -> None:
    def drawn(large: float, small: float) -> Tensor:
        return random_sizes(anatomy(), torch.tensor([[0.0, 1.0, large, small]]), generator(2))

    assert torch.equal(drawn(1000.0, 0.001), drawn(LARGEST_RATIO, 1 / LARGEST_RATIO))
    assert not torch.equal(drawn(LARGEST_RATIO, 1.0), drawn(LARGEST_RATIO / 2, 1.0))


def test_neighbours_that_all_grow_push_each_other_and_nothing_folds() -> None:
    label_map = anatomy()
    label_map[0, 0][ball((22, 22, 24), 3)] = 4
    ratios = torch.tensor([[0.0, 1.0, 50.0, 50.0, 50.0]])
    displacement = torch.cat([random_sizes(label_map, ratios, generator(seed)) for seed in range(6)])
    gradients = torch.stack(torch.gradient(displacement.double(), dim=(1, 2, 3)), dim=-1)
    local_volume = torch.linalg.det(gradients + torch.eye(3, dtype=torch.float64))
    assert float(local_volume.max()) > 1.5
    assert float(local_volume.min()) > 0.0


def test_what_makes_up_most_of_the_anatomy_gives_way() -> None:
    only = ball((20, 22, 24), 16).to(torch.uint8)[None, None]
    assert float(random_sizes(only, torch.tensor([[0.0, 3.0]]), generator()).abs().max()) == 0.0


def test_nothing_labelled_and_hardly_anything_labelled_stay() -> None:
    nothing = torch.zeros((1, 1, *SHAPE), dtype=torch.uint8)
    few = nothing.clone()
    few[..., 20, 20, 20:24] = 2
    for label_map in (nothing, few):
        assert float(random_sizes(label_map, torch.tensor([[0.0, 1.0, 3.0]]), generator()).abs().max()) == 0.0


def test_image_and_label_map_move_together() -> None:
    label_map = anatomy()
    field = displaced(random_sizes(label_map, torch.tensor([[0.0, 1.0, 2.5, 0.4]]), generator(3)), identity())
    moved = deform_label_map(label_map, field)
    picture = deform_image((label_map == 2).float(), field)
    assert volume(moved, 2) != volume(label_map, 2)
    agreement = ((picture > 0.5) == (moved == 2)).float().mean()
    assert float(agreement) > 0.997


def test_every_sample_has_its_own_draw_and_equal_seeds_give_equal_fields() -> None:
    label_map, ratios = anatomy().repeat(2, 1, 1, 1, 1), torch.ones(2, 4)
    first, again = (random_sizes(label_map, ratios, generator(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


def test_a_displacement_comes_before_the_grid() -> None:
    # everything shows what lies two voxels further along i, then the grid mirrors i
    volume_ = torch.rand(1, 1, *SHAPE, generator=generator())
    displacement = torch.zeros(1, *SHAPE, 3)
    displacement[..., 0] = 2.0
    mirrored = identity()
    mirrored[..., 2] *= -1
    found = deform_image(volume_, displaced(displacement, mirrored))
    torch.testing.assert_close(found[:, :, 2:], volume_.roll(-2, dims=2).flip(2)[:, :, 2:], atol=1e-4, rtol=0)
