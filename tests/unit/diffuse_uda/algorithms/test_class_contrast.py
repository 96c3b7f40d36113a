"""Random contrast between structures."""

import torch

from diffuse_uda.algorithms.class_contrast import (
    EDGE_SIGMA_VOXELS,
    GAIN_RANGE,
    MEAN_RANGE,
    random_class_contrast,
)


def _two_halves() -> tuple[torch.Tensor, torch.Tensor]:
    """A cube of sixteen voxels, half of it structure 1, half structure 2, both of intensity 0.5, inside air."""
    volume, label_map = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16, dtype=torch.long)
    volume[..., 2:14, 2:14, 2:14] = 0.5
    label_map[..., 2:8, 2:14, 2:14] = 1
    label_map[..., 8:14, 2:14, 2:14] = 2
    return volume, label_map


def test_structures_that_look_alike_are_told_apart() -> None:
    volume, label_map = _two_halves()
    gaps = []
    for seed in range(20):
        changed = random_class_contrast(volume, label_map, torch.Generator().manual_seed(seed), num_classes=3)
        gaps.append(float(changed[0, 0, 4, 8, 8] - changed[0, 0, 11, 8, 8]))
    assert min(gaps) < -0.3
    assert max(gaps) > 0.3


def test_air_stays_zero_and_intensities_stay_in_range() -> None:
    volume, label_map = _two_halves()
    changed = random_class_contrast(volume, label_map, torch.Generator().manual_seed(1), num_classes=3)
    assert bool((changed[volume == 0] == 0).all())
    assert 0.0 <= float(changed.min()) <= float(changed.max()) <= 1.0


def test_equal_seeds_give_equal_volumes_and_samples_differ() -> None:
    volume, label_map = (tensor.repeat(2, 1, 1, 1, 1) for tensor in _two_halves())
    one, other = (
        random_class_contrast(volume, label_map, torch.Generator().manual_seed(4), num_classes=3) for _ in range(2)
    )
    assert one.equal(other)
    assert not one[0].equal(one[1])


def test_texture_inside_a_structure_is_scaled_by_at_most_one() -> None:
    volume, label_map = _two_halves()
    volume[..., 2:14:2, 2:14, 2:14] += 0.2  # stripes of 0.2 in both structures
    changed = random_class_contrast(volume, label_map, torch.Generator().manual_seed(7), num_classes=3)
    stripe = float((changed[0, 0, 4, 8, 8] - changed[0, 0, 5, 8, 8]).abs())
    assert stripe <= 0.2 * max(map(abs, GAIN_RANGE)) + 1e-6
    assert MEAN_RANGE[0] < MEAN_RANGE[1]
    assert EDGE_SIGMA_VOXELS[0] > 0
