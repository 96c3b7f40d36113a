"""Other looks: intensities stay in [0, 1], air stays air, and the amplitudes go where the style says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.appearance import style_block
from diffuse_uda.algorithms.domain_contrast import NUM_QUANTILES, ClassAppearance
from diffuse_uda.training.looks import (
    SURROUNDINGS_RANGE,
    Look,
    aligned,
    in_known_contrast,
    look_of,
    perturbed,
    randomised,
    rescanned,
)


def scans(brightness: float = 0.5, seed: int = 0, batch: int = 2) -> Tensor:
    """A textured cube of the given mean in empty air."""
    volumes = torch.zeros(batch, 1, 16, 16, 16)
    texture = torch.rand(batch, 1, 10, 10, 10, generator=torch.Generator().manual_seed(seed))
    volumes[:, :, 3:13, 3:13, 3:13] = brightness + 0.2 * (texture - 0.5)
    return volumes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def foreign(brightness: float) -> Look:
    return Look(block=style_block(scans(brightness, seed=9, batch=1), 4))


def to_foreign(volumes: Tensor, draw: torch.Generator) -> Tensor:
    return aligned(volumes, [foreign(0.9)], draw, window=0.2, adaptive_window=False)


def to_mined(volumes: Tensor, draw: torch.Generator) -> Tensor:
    mined = [look_of(scans(brightness, seed=9)[0], 4) for brightness in (0.3, 0.9)]
    return aligned(volumes, mined, draw, window=0.2, adaptive_window=True)


def label_map(volumes: Tensor) -> Tensor:
    """The cube's halves are classes 1 and 2."""
    halves = torch.ones(volumes.shape, dtype=torch.uint8)
    halves[:, :, 8:] = 2
    return torch.where(volumes > 0, halves, 0)


def to_randomised(volumes: Tensor, draw: torch.Generator) -> Tensor:
    return randomised(volumes, label_map(volumes), draw, num_classes=3)


def to_perturbed(volumes: Tensor, draw: torch.Generator) -> Tensor:
    return perturbed(volumes, draw, 0.3)


def known() -> ClassAppearance:
    """Two domains in which the cube's second half is brighter than its first."""
    return ClassAppearance(
        means=torch.tensor([[0.0, 0.2, 0.8], [0.0, 0.3, 0.7]]),
        spreads=torch.full((2, 3), 0.05),
        background=torch.linspace(0.1, 0.9, NUM_QUANTILES).expand(2, -1),
        volumes=torch.tensor([[1.0, 0.5, 0.5], [0.2, 0.5, 0.5]]),
    )


def to_known(volumes: Tensor, draw: torch.Generator) -> Tensor:
    return in_known_contrast(volumes, label_map(volumes), known(), draw)


LOOKS = [to_randomised, to_perturbed, to_foreign, to_mined, to_known, rescanned]


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_stays_in_range_keeps_air_and_changes_the_rest(
    look: Callable[[Tensor, torch.Generator], Tensor],
) -> None:
    volumes = scans()
    for seed in range(8):
        changed = look(volumes, generator(seed))
        assert changed.shape == volumes.shape
        assert float(changed.min()) >= 0.0
        assert float(changed.max()) <= 1.0
        assert float(changed[volumes == 0].abs().max()) == 0.0
        assert (changed - volumes).abs().max() > 1e-3


@pytest.mark.parametrize("look", LOOKS)
def test_equal_seeds_give_equal_looks_and_other_seeds_others(
    look: Callable[[Tensor, torch.Generator], Tensor],
) -> None:
    volumes = scans()
    assert torch.equal(look(volumes, generator(1)), look(volumes, generator(1)))
    if look is not to_foreign:  # one block and a fixed window: nothing is left to chance
        others = [look(volumes, generator(seed)) for seed in range(2, 8)]
        assert not all(torch.equal(look(volumes, generator(1)), other) for other in others)


def test_a_share_of_the_samples_keeps_the_sources_own_look() -> None:
    volumes = scans(batch=1).repeat(32, 1, 1, 1, 1)

    def kept(plain_share: float) -> int:
        changed = randomised(volumes, label_map(volumes), generator(), num_classes=3, plain_share=plain_share)
        return sum(torch.equal(new, old) for new, old in zip(changed, volumes, strict=True))

    assert kept(0.0) == 0
    assert 8 <= kept(0.5) <= 24
    assert kept(1.0) == 32


def test_a_published_block_moves_the_mean_to_the_styles() -> None:
    # Width of the window: floor(0.5 * 16 * 0.1) = 0, hence 1: only the mean is aligned, 0.5 to 0.9 of a cube that
    # fills (10 / 16)^3 of the volume. What lands in the air is taken away again, so the cube moves by that share.
    volumes = scans(0.5)
    changed = aligned(volumes, [foreign(0.8)], generator(), window=0.1, adaptive_window=False)
    share = (10 / 16) ** 3
    rise = float((changed.mean() - volumes.mean()) / share)
    assert rise == pytest.approx((0.8 - 0.5) * share, abs=0.003)


def test_the_scans_own_block_changes_nothing() -> None:
    volumes = scans(batch=1)
    own = [look_of(volumes[0], 4)]
    torch.testing.assert_close(aligned(volumes, own, generator(), window=0.5, adaptive_window=False), volumes)


def test_every_sample_draws_its_own_look() -> None:
    volumes = scans(0.5, batch=1).repeat(16, 1, 1, 1, 1)
    dark, bright = foreign(0.3), foreign(0.7)
    changed = aligned(volumes, [dark, bright], generator(), window=0.1, adaptive_window=False)
    darker = [bool(mean < volumes.mean()) for mean in changed.mean(dim=(1, 2, 3, 4))]
    assert 0 < sum(darker) < 16


def test_a_wider_window_aligns_more_until_the_block_ends() -> None:
    volumes, looks = scans(0.5, batch=1), [foreign(0.8)]

    def at(window: float) -> Tensor:
        return aligned(volumes, looks, generator(), window=window, adaptive_window=False)

    assert not torch.equal(at(0.1), at(0.4))
    # The block has half-width 4, which is reached at a window of 0.5; the whole range has no more to give.
    assert torch.equal(at(0.5), at(1.0))


def test_the_adaptive_window_follows_the_histograms_only_where_an_image_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distances: list[float] = []

    def record(distance: float, _generator: torch.Generator) -> float:
        distances.append(distance)
        return 0.1

    monkeypatch.setattr("diffuse_uda.training.looks.draw_window", record)
    volumes = scans(batch=1)
    for look in (foreign(0.9), look_of(volumes[0], 4), look_of(scans(0.9, seed=9)[0], 4)):
        aligned(volumes, [look], generator(), window=0.1, adaptive_window=True)
    assert distances[:2] == [0.0, 0.0]
    # Both are air for 1 - (10/16)^3 = 75.6 % of their voxels, so only the cube's 24.4 % can differ.
    assert 0.0 < distances[2] < 2 * 0.244**2


def test_the_drawn_window_is_the_one_that_is_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    volumes, looks = scans(batch=1), [foreign(0.9)]
    for window in (0.1, 0.4):
        monkeypatch.setattr("diffuse_uda.training.looks.draw_window", lambda *_, drawn=window: drawn)
        fixed = aligned(volumes, looks, generator(), window=window, adaptive_window=False)
        assert torch.equal(aligned(volumes, looks, generator(), window=0.25, adaptive_window=True), fixed)


def test_the_look_of_an_image_is_its_block_and_itself() -> None:
    image = scans()[0]
    look = look_of(image, 3)
    assert look.image is image
    assert torch.equal(look.block, style_block(image[None], 3))


def test_the_contrast_of_a_known_domain_is_taken_up() -> None:
    volumes = scans(batch=8)
    labels = label_map(volumes)
    for seed in range(5):
        changed = to_known(volumes, generator(seed))
        first, second = ((changed * (labels == klass)).sum() / (labels == klass).sum() for klass in (1, 2))
        assert float(second - first) > 0.2


def test_a_known_contrast_shows_as_much_around_the_structures_as_is_seen_there() -> None:
    # structures of 8^3 in a body of 16^3: 7 unlabelled voxels for each labelled one; the other site shows 0.5
    volumes = torch.zeros(1, 1, 20, 20, 20)
    volumes[..., 2:18, 2:18, 2:18] = 0.5
    labels = torch.zeros(1, 1, 20, 20, 20).long()
    labels[..., 6:14, 6:14, 6:10], labels[..., 6:14, 6:14, 10:14] = 1, 2
    there = dataclasses.replace(known().of(slice(0, 1)), volumes=torch.tensor([[0.5, 0.5, 0.5]]))
    for seed in range(5):
        seen = in_known_contrast(volumes, labels, there, torch.Generator().manual_seed(seed))
        shown = float(((seen > 0) & (labels == 0)).sum() / (labels > 0).sum())
        assert 0.2 < shown <= 0.5 * SURROUNDINGS_RANGE[1] + 0.01


def test_what_the_other_site_would_not_show_has_no_say_in_the_contrast_of_what_it_shows() -> None:
    volumes = torch.zeros(1, 1, 20, 20, 20)
    volumes[..., 2:18, 2:18, 2:18] = 0.5 + 0.2 * torch.rand((16, 16, 16), generator=generator(7))
    labels = torch.zeros(1, 1, 20, 20, 20).long()
    labels[..., 6:14, 6:14, 6:10], labels[..., 6:14, 6:14, 10:14] = 1, 2
    there = dataclasses.replace(known().of(slice(0, 1)), volumes=torch.tensor([[0.5, 0.5, 0.5]]))
    with_skull = volumes.clone()
    far = torch.ones(20, 20, 20, dtype=torch.bool)
    far[3:17, 3:17, 3:17] = False
    with_skull[0, 0, far & (volumes[0, 0] > 0)] = 0.05
    for seed in range(5):
        plain, skulled = (
            in_known_contrast(scan, labels, there, torch.Generator().manual_seed(seed))
            for scan in (volumes, with_skull)
        )
        assert torch.equal(plain, skulled)
