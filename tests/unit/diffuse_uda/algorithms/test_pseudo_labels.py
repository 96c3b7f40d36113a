"""Pseudo-labels: the winning class, without islands, and with the teacher's confidence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from diffuse_uda.algorithms.pseudo_labels import confidence_weight, ensemble_probabilities, pseudo_label


def along_i(*rows: list[float]) -> Float[Tensor, "klass i 1 1"]:
    """Probabilities along a line; each row is one class."""
    return torch.tensor(rows)[:, :, None, None]


def labelled(classes: list[int], num_classes: int, second_best: int = 0) -> Float[Tensor, "klass i 1 1"]:
    """A line whose voxels belong to their class with 0.7, to `second_best` with 0.2, and share the rest."""
    probabilities = torch.full((num_classes, len(classes)), 0.1 / num_classes)
    probabilities[second_best] += 0.2
    probabilities[torch.tensor(classes), torch.arange(len(classes))] += 0.7
    return probabilities[:, :, None, None]


def test_an_ensemble_is_the_mean_of_its_models() -> None:
    mean = ensemble_probabilities([along_i([0.9], [0.1]), along_i([0.2], [0.8]), along_i([0.1], [0.9])])
    assert mean.flatten().tolist() == pytest.approx([0.4, 0.6])


def test_an_ensemble_leaves_its_models_alone() -> None:
    first = along_i([0.9], [0.1])
    ensemble_probabilities([first, first])
    assert first.flatten().tolist() == pytest.approx([0.9, 0.1])


def test_an_ensemble_of_nothing_or_of_different_grids_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, found \[\]"):
        ensemble_probabilities([])
    with pytest.raises(ValueError, match=r"found \[\(1, 2, 1, 1\), \(1, 1, 1, 1\)\]"):
        ensemble_probabilities([along_i([0.5, 0.5]), along_i([0.5])])


def test_the_winning_class_comes_with_its_probability() -> None:
    label = pseudo_label(along_i([0.1, 0.6], [0.9, 0.4]), keep_largest_component=False)
    assert label.label_map.shape == (1, 2, 1, 1)
    assert label.label_map.dtype == torch.int64
    assert label.label_map.flatten().tolist() == [1, 0]
    assert label.confidence.flatten().tolist() == pytest.approx([0.9, 0.6])


def test_an_island_falls_to_its_next_best_class_and_loses_its_confidence() -> None:
    # Structure 2 has 6 voxels and an island of 1 within structure 1: a hole of background there would be wrong.
    probabilities = labelled([2, 2, 2, 2, 2, 2, 1, 1, 2, 1, 1], 3, second_best=1)
    label = pseudo_label(probabilities, keep_largest_component=True)
    assert label.label_map.flatten().tolist() == [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    assert (label.confidence == 0).flatten().tolist() == [False] * 8 + [True] + [False] * 2


def test_an_island_outside_of_the_body_becomes_background() -> None:
    label = pseudo_label(labelled([0, 1, 0, 1, 1, 1, 1, 1, 1, 0], 2), keep_largest_component=True)
    assert label.label_map.flatten().tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 0]


def test_an_island_that_falls_to_an_island_falls_on() -> None:
    # The lone 1 beside structure 3 prefers class 2 next, which has its place elsewhere too: it ends in structure 3.
    probabilities = labelled([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 3, 3, 3, 3, 3, 3, 1], 4)
    probabilities[2, -1] += 0.5
    probabilities[3, -1] += 0.4
    label = pseudo_label(probabilities, keep_largest_component=True)
    assert label.label_map.flatten().tolist() == [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 3, 3, 3, 3, 3, 3, 3]
    assert label.confidence.flatten()[-1] == 0


def test_a_component_that_is_dwarfed_later_is_dropped_as_well() -> None:
    # Half of the largest is asked for. The lone 2 falls to class 1, whose first component grows to 5: its second, of 2,
    # is too small now and falls to class 2, which grows to 6: the last 2 voxels of class 2 are too small in turn.
    probabilities = labelled([1, 1, 1, 1, 2, 0, 2, 2, 2, 2, 1, 1, 0, 2, 2], 3)
    probabilities[1, 4] += 0.3
    probabilities[2, 10:12] += 0.3
    label = pseudo_label(probabilities, keep_largest_component=True, min_fraction=0.5)
    assert label.label_map.flatten().tolist() == [1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2, 0, 0, 0]


def test_both_halves_of_a_paired_structure_are_kept() -> None:
    halves = [1, 1, 1, 1, 0, 0, 1, 1, 1]
    label = pseudo_label(labelled(halves, 2), keep_largest_component=True)
    assert label.label_map.flatten().tolist() == halves


def test_the_strict_rule_keeps_the_largest_component_alone() -> None:
    label = pseudo_label(labelled([1, 1, 1, 1, 0, 0, 1, 1, 1], 2), keep_largest_component=True, min_fraction=1.0)
    assert label.label_map.flatten().tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("size", "kept"), [(1, False), (2, True)])
def test_a_component_is_kept_from_a_fifth_of_the_largest(size: int, *, kept: bool) -> None:
    label = pseudo_label(labelled([1] * 10 + [0] + [1] * size, 2), keep_largest_component=True)
    assert bool(label.label_map[0, -1, 0, 0] == 1) is kept


def test_only_the_named_classes_are_cleaned() -> None:
    line = [1, 1, 1, 1, 1, 1, 0, 1, 0, 2, 2, 2, 2, 2, 2, 0, 2]
    label = pseudo_label(labelled(line, 3), keep_largest_component=[2])
    assert label.label_map.flatten().tolist() == [*line[:-1], 0]


def test_voxels_that_touch_at_a_corner_are_one_structure() -> None:
    probabilities = torch.tensor([0.9, 0.1])[:, None, None, None].repeat(1, 3, 3, 3)
    for corner in range(3):
        probabilities[:, corner, corner, corner] = torch.tensor([0.1, 0.9])
    label = pseudo_label(probabilities, keep_largest_component=True, min_fraction=1.0)
    assert label.label_map.sum().item() == 3


def test_the_probabilities_are_left_as_they_were() -> None:
    probabilities = labelled([1, 1, 1, 1, 1, 1, 0, 1], 2)
    before = probabilities.clone()
    pseudo_label(probabilities.requires_grad_(), keep_largest_component=True)
    assert torch.equal(probabilities, before)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(seed=st.integers(0, 10_000), min_fraction=st.sampled_from([0.1, 0.5, 1.0]))
def test_no_island_is_left_whatever_the_teacher_says(seed: int, min_fraction: float) -> None:
    probabilities = torch.rand(4, 5, 5, 3, generator=torch.Generator().manual_seed(seed))
    label = pseudo_label(probabilities / probabilities.sum(0), keep_largest_component=True, min_fraction=min_fraction)
    for klass in (1, 2, 3):
        components, _ = ndimage.label(label.label_map[0].numpy() == klass, structure=[[[1] * 3] * 3] * 3)
        sizes = torch.from_numpy(components).flatten().bincount()[1:]
        assert (sizes >= min_fraction * sizes.max()).all() if len(sizes) else True
    untouched = label.confidence > 0
    assert torch.equal(label.label_map[untouched], probabilities.argmax(dim=0)[None][untouched])


@pytest.mark.parametrize(("confidence", "weight"), [(0.0, 0.0), (0.5, 0.0), (0.75, 0.5), (0.9, 0.8), (1.0, 1.0)])
def test_confidence_above_the_floor_counts_in_proportion(confidence: float, weight: float) -> None:
    assert confidence_weight(torch.tensor([confidence]), floor=0.5).item() == pytest.approx(weight)


def test_impossible_requests_are_refused() -> None:
    probabilities = labelled([1, 0], 2)
    with pytest.raises(ValueError, match=r"min_fraction must be in \(0, 1\], got 0.0"):
        pseudo_label(probabilities, keep_largest_component=True, min_fraction=0.0)
    with pytest.raises(ValueError, match=r"cannot clean the classes \[0, 2\]: the structures are 1 to 1"):
        pseudo_label(probabilities, keep_largest_component=[0, 1, 2])
    with pytest.raises(ValueError, match=r"floor must be in \[0, 1\), got 1.0"):
        confidence_weight(torch.ones(1), floor=1.0)
