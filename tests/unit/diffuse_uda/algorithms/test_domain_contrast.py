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
        volumes=torch.ones(1, len(means)),
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


@pytest.mark.parametrize(("means", "reversed_share"), [([0.0, 0.2, 0.8], 0.0), ([0.0, 0.8, 0.2], 1.0)])
def test_the_surroundings_take_the_domains_histogram_in_the_order_of_its_structures(
    means: list[float], reversed_share: float
) -> None:
    volume, label_map = _scan()
    volume[label_map == 2] *= 1.5  # brighter than structure 1
    rises = []
    for seed in range(20):
        changed = in_domain_contrast(volume, label_map, _domain(means), _generator(seed))
        corner = changed[0, 0, 3, 3, 2:18]
        assert float(corner.min()) == pytest.approx(0.3, abs=0.03)
        assert float(corner.max()) == pytest.approx(0.5, abs=0.03)
        rises.append(bool(corner[-1] > corner[0]))
    assert rises.count(False) / len(rises) == reversed_share


def test_air_stays_air() -> None:
    volume, label_map = _scan()
    changed = in_domain_contrast(volume, label_map, _domain([0.0, 0.1, 0.9]), _generator())
    assert float(changed[volume == 0].abs().max()) == 0.0


def test_every_sample_draws_one_domain() -> None:
    known = ClassAppearance(
        means=torch.tensor([[0.1, 0.2], [0.3, 0.4]]),
        spreads=torch.tensor([[0.5, 0.6], [0.7, 0.8]]),
        background=torch.tensor([[0.0], [1.0]]),
        volumes=torch.tensor([[2.0, 1.0], [3.0, 1.0]]),
    )
    drawn = known.drawn(40, _generator())
    second = drawn.means[:, 0] > 0.2
    assert 10 < int(second.sum()) < 30
    torch.testing.assert_close(drawn.spreads[second], torch.tensor([0.7, 0.8]).expand(int(second.sum()), -1))
    torch.testing.assert_close(drawn.volumes[~second, 0], torch.full((40 - int(second.sum()),), 2.0))


def test_volumes_count_voxels_for_each_labelled_one_doubtful_ones_as_well() -> None:
    # air is no volume: 3 voxels of body without a label, 4 of structure 1, 1 of structure 2
    values = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.5, 0.2, 0.2, 0.9, 0.9, 0.7])
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 2])
    trusted = torch.tensor([True] * 7 + [False] * 3)
    known = measure_appearance(values, labels, num_classes=4, trusted=trusted)
    assert known.volumes.tolist() == pytest.approx([0.6, 0.8, 0.2, 0.0])
    assert float(known.means[1]) == pytest.approx(0.2)
    assert measure_appearance(values, 0 * labels, num_classes=2).volumes.tolist() == [0.0, 0.0]


def test_ratios_of_volumes_compare_with_the_first_domain() -> None:
    volumes = torch.tensor([[1.0, 0.5, 0.5, 0.0], [1.0, 0.75, 0.25, 0.1], [1.0, 0.5, 0.0, 0.5]])
    known = ClassAppearance(means=volumes, spreads=volumes, background=volumes, volumes=volumes)
    found = known.volume_ratios(torch.tensor([1, 2, 1]))
    assert found[:2].tolist() == [[1.0, 1.5, 0.5, 0.0], [1.0, 1.0, 0.0, 0.0]]
    assert found[2].equal(found[0])
