"""Rendered pairs of a site that may be handed over: whole, within range, and no copy of anybody's scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file

from diffuse_uda.data.cases import load_prepared
from diffuse_uda.data.grid import SPACING_TOLERANCE
from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import ConfigError
from diffuse_uda.export.copy_check import COPY_CORRELATION, nearest_correlation
from diffuse_uda.types import Spacing

PAIRS, CASES = "synthetic.safetensors", "cases-*.safetensors"
"""What a site keeps in `state/` of its workspace: rendered pairs, and its own scans on the working grid."""
RANGE_TOLERANCE = 1e-3
LEAST_CONTRAST = 1e-2
"""Range of intensities below which an image shows nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SyntheticPair:
    """One rendered image with the label map it was rendered from."""

    image: Float32[np.ndarray, "i j k"]
    label_map: UInt8[np.ndarray, "i j k"]
    look: int
    """Row of the generator's domain table: 0 is the source's look, 1 the first target's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """Pairs that may leave, and how many may not."""

    kept: tuple[SyntheticPair, ...]
    dropped: dict[str, int] = field(default_factory=dict)
    """By reason: `not-finite`, `out-of-range`, `constant`, `labels`, `copy`."""
    nearest: float = -1.0
    """Largest correlation of a kept image with one of the site's scans (`copy_check`)."""

    @property
    def num_copies(self) -> int:
        """Images that are copies of a scan."""
        return self.dropped.get("copy", 0)


def load_pairs(workspace: Path) -> list[SyntheticPair]:
    """Read what a site rendered last.

    Raises:
        ConfigError: If the workspace holds no pairs.
    """
    file = workspace / "state" / PAIRS
    try:
        tensors = load_file(file)
        return [
            SyntheticPair(
                image=tensors[f"{index}.image"][0],
                label_map=tensors[f"{index}.label_map"][0],
                look=int(tensors[f"{index}.domain"][0]),
            )
            for index in sorted({name.split(".")[0] for name in tensors})
        ]
    except (OSError, SafetensorError, KeyError, IndexError) as error:
        msg = (
            f"no synthetic pairs in {file}: {type(error).__name__}; wanted the workspace of a site that has rendered "
            "(phase synthesise), and an account that may read it"
        )
        raise ConfigError(msg) from error


def load_scans(workspace: Path, spacing_mm: Spacing) -> list[Float32[np.ndarray, "i j k"]]:
    """Read the site's own scans on the working grid of a model; scans of other studies' grids are left out.

    Raises:
        ConfigError: If there are none: then nobody can tell whether a pair is a copy of one.
    """
    scans = [
        case.image[0].numpy()
        for file in sorted((workspace / "state").glob(CASES))
        for case in load_prepared(file)
        if np.allclose(
            Volume(voxels=case.image[0].numpy(), affine_mm=case.affine_mm).spacing_mm,
            spacing_mm,
            rtol=SPACING_TOLERANCE,
        )
    ]
    if not scans:
        msg = (
            f"{workspace / 'state'} holds no prepared scan of {spacing_mm} mm, so no pair can be compared with the "
            "site's scans, and none is exported. Was the model made in another study?"
        )
        raise ConfigError(msg)
    return scans


def sift_pairs(
    pairs: Sequence[SyntheticPair], scans: Sequence[Float32[np.ndarray, "i j k"]], *, num_classes: int
) -> Sifted:
    """Drop what must not be handed over, and count it.

    Args:
        pairs: As rendered.
        scans: The site's own, from `load_scans`.
        num_classes: Classes of the model, background included.
    """
    kept: list[SyntheticPair] = []
    dropped: Counter[str] = Counter()
    nearest = -1.0
    for pair in pairs:
        if reason := _fault(pair, num_classes):
            dropped[reason] += 1
            continue
        correlation = nearest_correlation(pair.image, pair.label_map, scans)
        if correlation >= COPY_CORRELATION:
            dropped["copy"] += 1
            continue
        nearest = max(nearest, correlation)
        kept.append(pair)
    return Sifted(kept=tuple(kept), dropped=dict(dropped), nearest=nearest)


def _fault(pair: SyntheticPair, num_classes: int) -> str:
    """Why a pair is none, or an empty text."""
    if not np.isfinite(pair.image).all():
        return "not-finite"
    lowest, highest = float(pair.image.min()), float(pair.image.max())
    if lowest < -RANGE_TOLERANCE or highest > 1.0 + RANGE_TOLERANCE:
        return "out-of-range"
    if highest - lowest < LEAST_CONTRAST:
        return "constant"
    if pair.label_map.shape != pair.image.shape or int(pair.label_map.max()) >= num_classes or not pair.label_map.any():
        return "labels"
    return ""
