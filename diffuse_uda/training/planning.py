"""A plan for all sites: one grid and one network that every site's scans and memory can work with.

It follows nnU-Net's way of planning (Isensee et al. 2021, arXiv:1904.08128): the median spacing, a patch that covers
the median field of view as far as memory goes, shrunk along its longest axis. The medians are over sites instead of
scans, because a small hospital's scanner counts as much as a large one's. Intensities need no shared number: every scan
is brought to its own window (`data.normalise`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.fingerprint import Fingerprint
from diffuse_uda.errors import MemoryEstimateError
from diffuse_uda.training.memory import GIB, estimate_memory, volumes_of_a_step
from diffuse_uda.types import Scalar, Triple

SHARE_OF_MEMORY = 0.6
"""Of what is free at the smallest site: the rest is for the processes around a step, which hold several models."""
LEAST_COVERAGE = 0.5
"""Share of the field of view that a patch covers along every axis before the networks are made narrower instead."""
WIDTHS = (1.0, 0.5)
HOUNSFIELD_BELOW = -200.0
"""A body whose darkest tissue lies below this is in Hounsfield units: no sequence of a magnet stores such values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedPlan:
    """What a study file needs beside its own keys, and why."""

    changes: Mapping[str, Scalar]
    """Flat keys of the configuration."""
    reasons: tuple[str, ...]
    """How the numbers came about, a sentence each."""


def derive_plan(config: StudyConfig, fingerprints: Mapping[str, Fingerprint], num_classes: int) -> SharedPlan:
    """Choose spacing, patch and width of the networks.

    Args:
        config: The study; its networks and batches are taken as they are, their width aside.
        fingerprints: By site; at least one.
        num_classes: Classes, background included.

    Raises:
        MemoryEstimateError: If not even the smallest patch of the narrowest networks fits the smallest site.
        ValueError: If there is no fingerprint.
    """
    if not fingerprints:
        msg = "no fingerprints: a plan needs at least one site that says what its scans are like"
        raise ValueError(msg)
    prints = list(fingerprints.values())
    spacing = _triple([round(_median([one.spacing_mm[axis] for one in prints]), 2) for axis in range(3)])
    extent = [_median([one.extent_mm[axis] for one in prints]) for axis in range(3)]
    smallest = min(fingerprints, key=lambda site_id: fingerprints[site_id].memory_gib)
    allowed = int(SHARE_OF_MEMORY * fingerprints[smallest].memory_gib * GIB)
    factor = _factor(config)
    whole = _shape(
        [math.ceil(length / step / factor - 1e-6) for length, step in zip(extent, spacing, strict=True)], factor
    )
    for candidate in _candidates(config, spacing, whole, factor):
        needed = _step_bytes(candidate, num_classes)
        if needed <= allowed:
            break
    else:
        msg = (
            f"the smallest patch of the narrowest networks needs {needed / GIB:.2f} GiB, and {smallest} has "
            f"{fingerprints[smallest].memory_gib:g} GiB, of which {SHARE_OF_MEMORY:.0%} may be used; that site needs "
            "more memory, or the study smaller networks or batches"
        )
        raise MemoryEstimateError(msg)
    before = config.to_flat()
    changes = {key: value for key, value in candidate.to_flat().items() if value != before[key]}
    patch = candidate.grid.patch_size
    reasons = (
        f"spacing {spacing} mm: median over {len(prints)} sites, axis by axis",
        f"patch {patch}: the median field of view is {tuple(round(length) for length in extent)} mm, {whole} voxels",
        f"a step needs {needed / GIB:.2f} GiB; allowed are {allowed / GIB:.2f}, {SHARE_OF_MEMORY:.0%} of {smallest}'s",
        *_about_units(fingerprints),
    )
    return SharedPlan(changes=dict(changes), reasons=reasons)


def _candidates(config: StudyConfig, spacing: Sequence[float], whole: Triple, factor: int) -> Iterator[StudyConfig]:
    """From the wanted to the least: smaller patches, then narrower networks, then patches that see little."""
    enough = _shape([math.ceil(LEAST_COVERAGE * size / factor) for size in whole], factor)
    for least in (enough, _shape([0, 0, 0], factor)):
        for width in WIDTHS:
            for patch in _shrinking(whole, least, factor):
                yield StudyConfig.from_flat(
                    {
                        **config.to_flat(),
                        "grid.spacing-mm": str(list(spacing)),
                        "grid.patch-size": str(list(patch)),
                        "segmenter.channels": _narrowed(config.segmenter.channels, width),
                        "denoiser.channels": _narrowed(config.denoiser.channels, width, config.denoiser.num_groups),
                    }
                )


def _shrinking(whole: Triple, least: Triple, factor: int) -> Iterator[Triple]:
    patch = list(whole)
    while True:
        yield _triple_of_int(patch)
        longest = max(range(3), key=lambda axis: (patch[axis] > least[axis], patch[axis]))
        if patch[longest] <= least[longest]:
            return
        patch[longest] -= factor


def _factor(config: StudyConfig) -> int:
    """Sizes that both networks can halve at every level are multiples of this."""
    segmenter = config.segmenter.stem * 2 ** (config.segmenter.num_levels - 1)
    denoiser = config.denoiser.stem * 2 ** (len(config.denoiser.channels) - 1)
    return math.lcm(segmenter, denoiser)


def _step_bytes(config: StudyConfig, num_classes: int) -> int:
    return max(
        estimate_memory(config, model, num_classes, half=False).step_bytes(volumes)
        for model, volumes in volumes_of_a_step(config).items()
    )


def _about_units(fingerprints: Mapping[str, Fingerprint]) -> Iterator[str]:
    hounsfield = sorted(site_id for site_id, one in fingerprints.items() if one.lowest < HOUNSFIELD_BELOW)
    if hounsfield and len(hounsfield) < len(fingerprints):
        yield f"{', '.join(hounsfield)}: Hounsfield units, the others not; right if CT and MR are meant to be adapted"


def _narrowed(channels: Sequence[int], width: float, groups: int = 1) -> str:
    """Fewer channels; still a multiple of the groups that a layer normalises together."""
    return str([max(1, round(width * count / groups)) * groups for count in channels])


def _shape(blocks: Sequence[int], factor: int) -> Triple:
    """A patch of whole blocks, at least the two an axis that the networks need."""
    return _triple_of_int([max(2, count) * factor for count in blocks])


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    i, j, k = values
    return i, j, k


def _triple_of_int(values: Sequence[int]) -> Triple:
    i, j, k = values
    return i, j, k
