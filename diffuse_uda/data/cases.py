"""What training sees of a case, a site's private cache of it, and the way back to the scan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, from_numpy

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.data.grid import Affine, from_working_grid, to_working_grid
from diffuse_uda.data.label_maps import load_label_map
from diffuse_uda.data.normalise import foreground_mask, normalise_intensity
from diffuse_uda.data.scan_checks import check_image
from diffuse_uda.data.volumes import Volume, load_volume, require_same_grid
from diffuse_uda.types import Spacing, Triple

CROP_MARGIN_VOXELS = 4
"""Left around the body: a network needs to see where it ends."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedCase:
    """One case on the working grid, ready for a network."""

    case_id: str
    """Never leaves the site."""
    image: Float[Tensor, "1 i j k"]
    """In [0, 1]; background and padding are 0."""
    label_map: UInt8[Tensor, "1 i j k"] | None
    affine_mm: Affine
    """Index of `image` to world mm (RAS+)."""
    scan_shape: Triple
    scan_affine_mm: Affine


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ScanGrid:
    shape: Triple
    affine_mm: Affine


def prepare_case(files: CaseFiles, spacing_mm: Spacing, patch_size: Triple) -> PreparedCase:
    """Load a case and bring it to the working grid.

    The scan is reoriented to RAS+ and resampled, normalised to [0, 1], cropped to its body along the axes that are
    longer than a patch (found in the image, never in labels), and padded with zeros to at least a patch. A scan that
    already is as large as a patch stays where it is.

    Args:
        files: Where the case is; the label map is taken along if there is one, as classes without gaps.
        spacing_mm: Wanted distance between voxel centres towards R, A and S.
        patch_size: Least size of the result, in working voxels.

    Returns:
        The case, with the affine of its new voxels and the grid of the scan to come back to.

    Raises:
        BrokenRuleError: If a file is not usable.
        GeometryError: If image and label map do not share a grid.
    """
    scan = load_volume(files.image)
    drawn = None if files.label_map is None else load_label_map(files)
    return prepare_volume(files.case_id, scan, drawn, spacing_mm, patch_size)


def prepare_volume(
    case_id: str, scan: Volume, drawn: Volume | None, spacing_mm: Spacing, patch_size: Triple
) -> PreparedCase:
    """Bring a scan that is already in memory to the working grid, as `prepare_case` does with files.

    Args:
        case_id: Name of the case; stays at the site.
        scan: As read, whatever the format.
        drawn: Its label map as classes (`load_label_map`), on the same grid.
        spacing_mm: Wanted distance between voxel centres towards R, A and S.
        patch_size: Least size of the result, in working voxels.

    Raises:
        BrokenRuleError: If the scan or the label map is not usable.
        GeometryError: If scan and label map do not share a grid.
    """
    check_image(scan)
    working = to_working_grid(scan, spacing_mm, kind="image")
    foreground = foreground_mask(working.voxels)
    first, last = _crop_box(foreground, patch_size)
    # Statistics come from the whole scan, so that the crop cannot change them.
    image = _cut(normalise_intensity(working.voxels, foreground), first, last)
    label_map: Tensor | None = None
    if drawn is not None:
        require_same_grid(scan, drawn)
        classes = Volume(voxels=drawn.voxels, affine_mm=scan.affine_mm)
        label_map = from_numpy(_cut(to_working_grid(classes, spacing_mm, kind="label").voxels, first, last))[None]
    affine_mm = working.affine_mm.copy()
    affine_mm[:3, 3] += affine_mm[:3, :3] @ first
    return PreparedCase(
        case_id=case_id,
        image=from_numpy(image)[None],
        label_map=label_map,
        affine_mm=affine_mm,
        scan_shape=scan.shape,
        scan_affine_mm=scan.affine_mm,
    )


def restore_to_scan(probabilities: Float[Tensor, "klass i j k"], case: PreparedCase) -> Volume:
    """Bring a segmentation of a prepared case back to the scan's own voxels.

    Args:
        probabilities: Class probabilities for every voxel of `case.image`; class 0 is the background.
        case: The case they were predicted for.

    Returns:
        A uint8 label map on the scan's grid.

    Raises:
        ValueError: If the probabilities do not cover the case's voxels.
    """
    if probabilities.ndim != 4 or probabilities.shape[1:] != case.image.shape[1:]:
        msg = f"probabilities are {tuple(probabilities.shape)}, wanted (klass, {', '.join(map(str, _size(case)))})"
        raise ValueError(msg)
    scan = _ScanGrid(shape=case.scan_shape, affine_mm=case.scan_affine_mm)
    voxels = from_working_grid(probabilities.detach().float().cpu().numpy(), case.affine_mm, scan)
    return Volume(voxels=voxels, affine_mm=case.scan_affine_mm)


def save_prepared(path: Path, cases: Sequence[PreparedCase]) -> None:
    """Write a site's private cache: one safetensors file, readable by this account alone.

    Args:
        path: Where to; the folder must exist. The file appears at once or not at all.
        cases: In any order, which is kept.
    """
    tensors: dict[str, Tensor] = {}
    for index, case in enumerate(cases):
        tensors[f"{index}.image"] = case.image.contiguous()
        if case.label_map is not None:
            tensors[f"{index}.label_map"] = case.label_map.contiguous()
    with replaced_atomically(path, mode=0o600) as part:
        save_file(tensors, part, metadata={"cases": json.dumps([_facts(case) for case in cases])})


def load_prepared(path: Path) -> list[PreparedCase]:
    """Read what `save_prepared` wrote.

    Args:
        path: The cache.

    Returns:
        The cases, in the order in which they were saved.

    Raises:
        BrokenRuleError: If the file is missing, damaged, or another kind of file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["cases"])
            names = set(file.keys())
            return [
                PreparedCase(
                    case_id=fact["case_id"],
                    image=file.get_tensor(f"{index}.image"),
                    label_map=file.get_tensor(name) if (name := f"{index}.label_map") in names else None,
                    affine_mm=np.asarray(fact["affine_mm"], dtype=np.float64),
                    scan_shape=tuple(fact["scan_shape"]),
                    scan_affine_mm=np.asarray(fact["scan_affine_mm"], dtype=np.float64),
                )
                for index, fact in enumerate(facts)
            ]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BrokenRuleError(
            "prepared-cache",
            found=f"{path.name}: {type(error).__name__}: {error}",
        ) from error


def _facts(case: PreparedCase) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "affine_mm": case.affine_mm.tolist(),
        "scan_shape": list(case.scan_shape),
        "scan_affine_mm": case.scan_affine_mm.tolist(),
    }


def _size(case: PreparedCase) -> tuple[int, ...]:
    return tuple(case.image.shape[1:])


def _crop_box(
    foreground: Bool[np.ndarray, "i j k"], patch_size: Triple
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First voxel and the one after the last, along each axis; outside the scan where it must be padded."""
    first, last = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for axis, (size, patch) in enumerate(zip(foreground.shape, patch_size, strict=True)):
        low, high = 0, size
        if size > patch:
            others = tuple(other for other in range(3) if other != axis)
            inside = np.flatnonzero(foreground.any(axis=others))
            low = max(int(inside[0]) - CROP_MARGIN_VOXELS, 0)
            high = min(int(inside[-1]) + 1 + CROP_MARGIN_VOXELS, size)
            if high - low < patch:
                low = min(max(low - (patch - (high - low)) // 2, 0), size - patch)
                high = low + patch
        missing = max(patch - (high - low), 0)
        first[axis] = low - missing // 2
        last[axis] = first[axis] + max(high - low, patch)
    return first, last


def _cut(voxels: npt.NDArray[Any], first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Voxels `first` to `last`, zero where there are none."""
    size = np.asarray(voxels.shape)
    low, high = np.maximum(first, 0), np.minimum(last, size)
    inside = voxels[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    padding = [(int(a), int(b)) for a, b in zip(low - first, last - high, strict=True)]
    return np.ascontiguousarray(np.pad(inside, padding))
