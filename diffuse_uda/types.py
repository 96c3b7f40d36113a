"""The vocabulary every package shares: who takes part, which model travels, what an update is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # hub, site and certificates start without torch, which takes seconds to import
    from torch import Tensor

Scalar = bool | int | float | str
StateDict: TypeAlias = "dict[str, Tensor]"
"""Named tensors of one model, as `nn.Module.state_dict()` returns them."""

Triple = tuple[int, int, int]
"""One integer for each voxel axis i, j, k."""

Spacing = tuple[float, float, float]
"""Millimetres between voxel centres along i, j and k."""


class SiteRole(StrEnum):
    """Which side of the adaptation a site is on."""

    SOURCE = "source"
    TARGET = "target"


class ModelName(StrEnum):
    """The networks that travel between server and sites."""

    SEGMENTER = "segmenter"
    DENOISER = "denoiser"


class AverageRule(StrEnum):
    """How the targets' weights become one model; the source's share is the same in all of them."""

    MEAN = "mean"
    """Weighted by cases."""
    TRIMMED_MEAN = "trimmed-mean"
    """Value by value without the largest and the smallest; every target counts alike."""
    MEDIAN = "median"
    """Value by value the middle one; every target counts alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightUpdate:
    """What one site sends after one round of work: weights and a few numbers, never voxels."""

    site_id: str
    weights: StateDict
    num_examples: int
    """Cases (volumes) the site used; the weight in the average."""
    metrics: Mapping[str, float] = field(default_factory=dict)
