"""What scanners do to any contrast: shading, noise, field of view, window."""

import pytest
import torch
from scipy import ndimage

from diffuse_uda.algorithms.scanner_effects import (
    field_of_view_around,
    random_bias_field,
    random_field_of_view,
    random_noise,
    window_to_foreground,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_bias_field_is_smooth_positive_and_each_samples_own() -> None:
    field = random_bias_field(torch.ones(2, 1, 12, 12, 12), _generator(), largest_strength=0.5)
    assert float(field.min()) > 0.0
    assert float(field.diff(dim=2).abs().max()) < 0.2 * float(field.max())
    assert not field[0].equal(field[1])


def test_a_bias_field_multiplies() -> None:
    ones = torch.ones(1, 1, 6, 6, 6)
    once = random_bias_field(ones, _generator(), largest_strength=0.5)
    twice = random_bias_field(2.0 * ones, _generator(), largest_strength=0.5)
    torch.testing.assert_close(twice, 2.0 * once)


def test_no_strength_changes_nothing() -> None:
    volumes = torch.rand(2, 1, 5, 6, 7, generator=_generator())
    assert random_bias_field(volumes, _generator(1), largest_strength=0.0).equal(volumes)
    assert random_noise(volumes, _generator(1), largest_std=0.0).equal(volumes)


def test_noise_stays_below_the_largest_standard_deviation() -> None:
    noise = random_noise(torch.zeros(8, 1, 16, 16, 16), _generator(), largest_std=0.1)
    stds = noise.flatten(1).std(dim=1)
    assert float(stds.max()) < 0.103
    assert float(stds.max()) > 2 * float(stds.min())


def _ball_in_a_body() -> tuple[torch.Tensor, torch.Tensor]:
    """A structure of 2103 voxels (radius 8) in a body of 8217 (radius 12.5) in air."""
    offsets = torch.arange(32) - 15.5
    distance = sum(part.square() for part in torch.meshgrid(offsets, offsets, offsets, indexing="ij")) ** 0.5
    return (distance <= 8).long()[None, None], (distance <= 12.5)[None, None]


@pytest.mark.parametrize("wanted", [0.0, 0.3, 1.0])
def test_as_much_is_left_around_the_structures_as_wanted(wanted: float) -> None:
    label_map, body = _ball_in_a_body()
    seen = field_of_view_around(label_map, body, torch.tensor([wanted]), _generator())
    labelled = float((label_map > 0).sum())
    assert float((seen & (label_map == 0)).sum()) / labelled == pytest.approx(wanted, abs=2 / labelled)
    assert bool(seen[label_map > 0].all())
    assert not bool(seen[~body].any())


def test_what_is_nearest_to_the_structures_stays_and_the_border_is_ragged() -> None:
    label_map, body = _ball_in_a_body()
    borders = []
    for seed in range(2):
        seen = field_of_view_around(label_map, body, torch.tensor([0.6]), _generator(seed))
        distance = torch.from_numpy(ndimage.distance_transform_edt((label_map == 0).numpy()[0, 0]))
        outside = body & (label_map == 0)
        kept, lost = distance[(seen & outside)[0, 0]], distance[(outside & ~seen)[0, 0]]
        assert float(kept.median()) < float(lost.median()) - 0.5
        assert float(kept.max()) > float(lost.min())
        borders.append(seen)
    assert not borders[0].equal(borders[1])


def test_less_than_wanted_leaves_the_whole_body_and_every_sample_has_its_own_share() -> None:
    label_map, body = (part.repeat(3, 1, 1, 1, 1) for part in _ball_in_a_body())
    seen = field_of_view_around(label_map, body, torch.tensor([50.0, 0.5, 0.0]), _generator())
    assert seen[0].equal(body[0])
    assert int(seen[2].sum()) < int(seen[1].sum()) < int(seen[0].sum())
    assert int(seen[2].sum()) == int(label_map[2].sum())


def _one_structure() -> tuple[torch.Tensor, torch.Tensor]:
    """A cube of three voxels a side in the middle of a body that fills the volume of 11^3."""
    label_map = torch.zeros(1, 1, 11, 11, 11).long()
    label_map[..., 4:7, 4:7, 4:7] = 1
    return label_map, torch.ones(1, 1, 11, 11, 11, dtype=torch.bool)


@pytest.mark.parametrize(("largest_margin", "wanted"), [(0, {27}), (2, {27, 125, 343})])
def test_the_field_of_view_ends_a_few_voxels_from_the_structures(largest_margin: int, wanted: set[int]) -> None:
    label_map, body = _one_structure()
    sizes = {
        int(
            random_field_of_view(
                label_map, body, _generator(seed), probability=1.0, largest_margin=largest_margin
            ).sum()
        )
        for seed in range(20)
    }
    assert sizes == wanted


def test_a_field_of_view_that_is_not_changed_stays_and_never_grows() -> None:
    label_map, body = _one_structure()
    assert random_field_of_view(label_map, body, _generator(), probability=0.0).equal(body)
    body[..., :5] = False
    changed = random_field_of_view(label_map, body, _generator(), probability=1.0)
    assert not bool((changed & ~body).any())


def test_what_structures_enclose_is_kept() -> None:
    label_map, body = _one_structure()
    label_map[..., 5, 5, 5] = 0  # a fold, or fluid between structures
    kept = random_field_of_view(label_map, body, _generator(), probability=1.0, largest_margin=0)
    assert bool(kept[..., 5, 5, 5])


def test_the_window_is_two_standard_deviations_of_the_foreground() -> None:
    # foreground values 2 and 6: mean 4, standard deviation 2, window from 0 to 8
    volumes = torch.tensor([2.0, 6.0, 100.0]).view(1, 1, 3, 1, 1)
    foreground = torch.tensor([True, True, False]).view(1, 1, 3, 1, 1)
    assert window_to_foreground(volumes, foreground).flatten().tolist() == [0.25, 0.75, 0.0]
