"""Another domain's contrast from a few numbers."""

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.domain_contrast import (
    JITTER_STD,
    NUM_QUANTILES,
    ClassAppearance,
    in_domain_contrast,
    measure_appearance,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _scan() -> tuple[Tensor, Tensor]:
    """A body of 16^3 voxels in air: outside dark to bright along k, inside structure 1 (left) and 2 (right)."""
    volume = torch.zeros(1, 1, 20, 20, 20)
    body = volume[..., 2:18, 2:18, 2:18]
    body[:] = torch.linspace(0.1, 0.9, 16)
    label_map = torch.zeros(1, 1, 20, 20, 20).long()
    label_map[..., 6:10, 6:14, 6:14] = 1
    label_map[..., 10:14, 6:14, 6:14] = 2
    return volume, label_map


def _domain(
    means: list[float], *, spread: float = 0.0, background: tuple[float, float] = (0.3, 0.5)
) -> ClassAppearance:
    return ClassAppearance(
        means=torch.tensor([means]),
        spreads=torch.full((1, len(means)), spread),
        background=torch.linspace(*background, NUM_QUANTILES)[None],
    )


def test_a_median_and_half_the_middle_range_describe_a_class() -> None:
    # 101 values from 0.2 to 0.4: median 0.3, middle 68 % from 0.232 to 0.368
    values = torch.cat([torch.zeros(50), torch.linspace(0.2, 0.4, 101), torch.tensor([0.5, 0.7, 0.9])])
    labels = torch.cat([torch.zeros(50), torch.ones(101), torch.zeros(3)]).long()
    known = measure_appearance(values, labels, num_classes=2)
    assert known.means.tolist() == pytest.approx([0.0, 0.3])
    assert float(known.spreads[1]) == pytest.approx(0.068, abs=1e-4)
    # the histogram of the unlabelled body leaves air out: 0.5, 0.7, 0.9
    assert known.background[[0, NUM_QUANTILES // 2, -1]].tolist() == pytest.approx([0.5, 0.7, 0.9])


def test_one_wrong_voxel_in_three_does_not_move_the_median() -> None:
    values = torch.cat([torch.full((20,), 0.3), torch.full((10,), 0.9)])
    assert float(measure_appearance(values, torch.ones(30).long(), num_classes=2).means[1]) == pytest.approx(0.3)


def test_a_missing_class_looks_like_all_structures_and_nothing_gives_grey() -> None:
    known = measure_appearance(torch.tensor([0.2, 0.4, 0.6]), torch.ones(3).long(), num_classes=3)
    assert float(known.means[2]) == pytest.approx(0.4)
    nothing = measure_appearance(torch.zeros(4), torch.zeros(4).long(), num_classes=2)
    assert nothing.means.tolist() == pytest.approx([0.0, 0.5])
    assert nothing.background.tolist() == pytest.approx([0.5] * NUM_QUANTILES)


def test_structures_take_the_means_of_the_domain() -> None:
    volume, label_map = _scan()
    changed = [in_domain_contrast(volume, label_map, _domain([0.0, 0.2, 0.8]), _generator(seed)) for seed in range(30)]
    left = torch.stack([scan[0, 0, 7:9, 8:12, 8:12].mean() for scan in changed])
    right = torch.stack([scan[0, 0, 11:13, 8:12, 8:12].mean() for scan in changed])
    assert float(left.mean()) == pytest.approx(0.2, abs=0.03)
    assert float(right.mean()) == pytest.approx(0.8, abs=0.03)
    assert float(left.std()) == pytest.approx(JITTER_STD, rel=0.5)


def test_texture_is_scaled_to_the_domains_spread() -> None:
    volume, label_map = _scan()
    flat = in_domain_contrast(volume, label_map, _domain([0.0, 0.5, 0.5]), _generator())
    assert float(flat[0, 0, 8, 10, 7:13].std()) < 1e-3
    stds = [
        float(
            in_domain_contrast(volume, label_map, _domain([0.0, 0.5, 0.5], spread=0.1), _generator(seed))[
                label_map == 1
            ].std()
        )
        for seed in range(20)
    ]
    assert 0.02 < min(stds) < max(stds) < 0.12


def test_the_surroundings_take_the_domains_histogram_in_either_order() -> None:
    volume, label_map = _scan()
    rises = set()
    for seed in range(20):
        changed = in_domain_contrast(volume, label_map, _domain([0.0, 0.5, 0.5]), _generator(seed))
        corner = changed[0, 0, 3, 3, 2:18]
        assert float(corner.min()) == pytest.approx(0.3, abs=0.03)
        assert float(corner.max()) == pytest.approx(0.5, abs=0.03)
        rises.add(bool(corner[-1] > corner[0]))
    assert rises == {False, True}


def test_air_stays_air_and_every_sample_draws_one_domain() -> None:
    volume, label_map = (tensor.repeat(40, 1, 1, 1, 1) for tensor in _scan())
    one, other = _domain([0.0, 0.1, 0.1]), _domain([0.0, 0.9, 0.9])
    both = ClassAppearance(
        means=torch.cat([one.means, other.means]),
        spreads=torch.cat([one.spreads, other.spreads]),
        background=torch.cat([one.background, other.background]),
    )
    changed = in_domain_contrast(volume, label_map, both, _generator())
    assert float(changed[volume == 0].abs().max()) == 0.0
    inside = changed[:, 0, 7:9, 8:12, 8:12].mean(dim=(1, 2, 3))
    assert 10 < int((inside > 0.5).sum()) < 30
    assert bool(((inside < 0.35) | (inside > 0.65)).all())
