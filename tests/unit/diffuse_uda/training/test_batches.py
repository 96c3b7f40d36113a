"""A batch is a fair draw of a site's cases, and image, label map and weight stay voxel by voxel together."""

from __future__ import annotations

import pytest
import torch

from diffuse_uda.errors import SiteTaskError
from diffuse_uda.training.batches import Batch, Example, draw_batch

CPU = torch.device("cpu")


def numbered(count: int, size: int = 4) -> list[Example]:
    """Examples whose voxels all hold their own number."""
    return [Example(image=torch.full((1, size, size, size), float(n)), domain=10 + n) for n in range(count)]


def drawn(examples: list[Example], batch_size: int, size: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return draw_batch(examples, batch_size, (size, size, size), generator, CPU)


def numbers(batch: Batch) -> list[int]:
    return [int(value) for value in batch.images[:, 0, 0, 0, 0]]


def test_a_batch_as_large_as_the_site_holds_every_case_once() -> None:
    for seed in range(5):
        assert sorted(numbers(drawn(numbered(6), 6, seed=seed))) == [0, 1, 2, 3, 4, 5]


def test_too_few_cases_are_all_used_before_any_comes_again() -> None:
    for seed in range(5):
        found = numbers(drawn(numbered(3), 5, seed=seed))
        assert sorted(found[:3]) == [0, 1, 2]
        assert len(set(found[3:])) == 2


def test_equal_seeds_draw_equally_and_the_order_changes_from_seed_to_seed() -> None:
    assert numbers(drawn(numbered(6), 6)) == numbers(drawn(numbered(6), 6))
    assert len({tuple(numbers(drawn(numbered(6), 6, seed=seed))) for seed in range(5)}) > 1


def test_the_domain_goes_with_its_example() -> None:
    batch = drawn(numbered(4), 4)
    assert batch.domains.tolist() == [10 + number for number in numbers(batch)]


def test_image_label_map_and_weight_are_cropped_at_one_place() -> None:
    # Every voxel holds its own number, in all three: 6^3 = 216 of them, which uint8 can hold.
    index = torch.arange(216.0).view(1, 6, 6, 6)
    example = Example(image=index, label_map=index.to(torch.uint8), voxel_weight=index / 216)
    corners = set()
    for seed in range(10):
        batch = drawn([example], 2, size=4, seed=seed)
        assert batch.images.shape == batch.label_map.shape == batch.voxel_weight.shape == (2, 1, 4, 4, 4)
        assert torch.equal(batch.images, batch.label_map.float())
        torch.testing.assert_close(batch.images, batch.voxel_weight * 216)
        corners |= set(numbers(batch))
    assert len(corners) > 5  # of the 27 places a 4^3 patch has in 6^3 voxels


def test_a_volume_of_one_patch_stays_where_it_is() -> None:
    image = torch.rand(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn([Example(image=image)], 1).images[0], image)


def test_without_labels_everything_is_background_and_fully_trusted() -> None:
    batch = drawn(numbered(1), 1)
    assert not batch.label_map.any()
    assert (batch.voxel_weight == 1.0).all()
    assert batch.label_map.dtype == torch.uint8


def test_labelled_and_unlabelled_examples_share_a_batch() -> None:
    labelled = Example(image=torch.ones(1, 4, 4, 4), label_map=torch.ones(1, 4, 4, 4, dtype=torch.int64))
    batch = drawn([labelled, *numbered(1)], 2)
    assert torch.equal(batch.label_map.float(), batch.images)


def test_a_site_without_examples_is_refused() -> None:
    with pytest.raises(SiteTaskError, match="no example"):
        drawn([], 1)
