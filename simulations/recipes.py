"""Runs this project ships. A recipe is configuration: it selects and overrides, it holds no code path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import nibabel as nib
import numpy as np

from diffuse_uda.data.formats.nnunet import CentreFolder
from diffuse_uda.types import Scalar, Spacing, Triple

DEMO: Mapping[str, Scalar] = MappingProxyType({"preset": "small", "method": "diffuse-uda"})
"""The small preset as it is: a whole federation of one source and two targets in minutes on two cores."""

STUDY: Mapping[str, Scalar] = MappingProxyType(
    {
        **DEMO,
        "num-passes": 2,
        "warm-up.num-rounds": 12,
        "warm-up.random-look-share": 0.8,
        "adapt.num-rounds": 4,
        "recolour.num-turns": 3,
        "recolour.num-rounds": 4,
        "recolour.num-local-steps": 100,
        "diffuse.num-local-steps": 30,
        "refine.num-rounds": 4,
        "refine.num-local-steps": 60,
        "refine.batch-size": 3,
        "refine.source-weight": 1.0,
        "refine.class-contrast-share": 0.9,
        "refine.lambda-max": 0.0,
        "refine.synthetic-fraction": 0.33,
    }
)
"""What all rows of a study have in common; the ladder says what is different. Longer than the demo: minutes a phase."""

BUDGETS: Mapping[str, Scalar] = MappingProxyType({**STUDY, "num-passes": 1, "recolour.num-turns": 2})
"""The same at many budgets of source labels: one pass and two turns, because there are fifteen ladders to run."""

PHANTOM_SHAPE: Triple = (32, 40, 32)
PHANTOM_SPACING_MM: Spacing = (5.0, 5.0, 5.0)
PATCH_SIZE: Triple = (40, 48, 40)


def working_grid(source: CentreFolder) -> dict[str, Scalar]:
    """Grid of the small preset for a centre's scans: one patch holds the median field of view of the source.

    Scans that fit as they are keep their spacing, hence their voxels; others get a coarser one, in steps of 0.5 mm.
    Only headers of the source are read; the targets resample to the same grid.
    """
    extents_mm, finest_mm = [], []
    for case in source.train:
        image = nib.load(case.image)
        affine = np.asarray(image.affine, dtype=np.float64)
        axes = nib.io_orientation(affine)[:, 0].astype(int)
        spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
        extents_mm.append((np.asarray(image.shape[:3]) * spacing_mm)[np.argsort(axes)])
        finest_mm.append(spacing_mm.min())
    median_mm = np.median(np.stack(extents_mm), axis=0)
    native_mm = round(float(np.median(finest_mm)), 3)
    needed_mm = math.ceil(float((median_mm / np.asarray(PATCH_SIZE)).max()) * 2 - 1e-6) / 2
    fits = bool((median_mm <= np.asarray(PATCH_SIZE) * native_mm + 1e-3).all())
    working_mm = native_mm if fits else needed_mm
    # The patch shrinks to what the scans fill, in steps the networks can halve three times.
    patch = [
        min(size, math.ceil(extent / working_mm / 8 - 1e-6) * 8)
        for size, extent in zip(PATCH_SIZE, median_mm, strict=True)
    ]
    return {"grid.spacing-mm": str([working_mm] * 3), "grid.patch-size": str(patch)}
