"""Copies of files in which one broken rule is corrected; the files themselves are never touched."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.nifti import NIFTI_2_BYTES, NiftiLayout, open_header, parse_header
from diffuse_uda.data.volumes import FILE_ENDINGS, Volume, load_scan, save_volume
from diffuse_uda.types import Spacing

Content = Literal["image", "label"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What only a person can know."""

    assumed_spacing_mm: Spacing | None = None
    """For files that do not say where they are: distance between voxels along i, j and k."""
    volume_index: int | None = None
    """For files that hold a series: which volume, from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a correction changed, in words for the log."""

    file: Path
    """The corrected copy."""
    before: str
    after: str


Correction = Callable[[Path, Path, Content, Choices], Change | None]
"""From a file to its corrected copy; None where the person's choice is missing."""


def rename(original: Path, copy: Path, content: Content, choices: Choices) -> Change | None:
    """Give gzip data the ending .nii.gz, and other data .nii."""
    del content, choices
    is_gzip = original.read_bytes()[:2] == b"\x1f\x8b"
    stem = next(copy.name.removesuffix(ending) for ending in FILE_ENDINGS if copy.name.endswith(ending))
    renamed = copy.with_name(stem + (".nii.gz" if is_gzip else ".nii"))
    shutil.copyfile(original, renamed)
    return Change(file=renamed, before=original.name, after=renamed.name)


def write_header_anew(original: Path, copy: Path, content: Content, choices: Choices) -> Change | None:
    """Write voxels and affine with a header made from nothing else."""
    del content, choices
    volume, layout = load_scan(original)
    save_volume(copy, volume, dtype=volume.voxels.dtype)
    before = "; ".join(note.found for note in layout.notes)
    return Change(file=copy, before=before, after=f"pixdim {volume.spacing_mm}")


def assume_spacing(original: Path, copy: Path, content: Content, choices: Choices) -> Change | None:
    """Write an affine of a given spacing, with axes towards right, anterior and superior."""
    del content
    if choices.assumed_spacing_mm is None:
        return None
    affine_mm = np.diag([*choices.assumed_spacing_mm, 1.0])
    voxels = _voxels(original)
    save_volume(copy, Volume(voxels=voxels, affine_mm=affine_mm), dtype=voxels.dtype)
    return Change(file=copy, before="no affine", after=f"spacing {list(choices.assumed_spacing_mm)} mm, RAS")


def take_volume(original: Path, copy: Path, content: Content, choices: Choices) -> Change | None:
    """Write one volume of a series."""
    del content
    image: Any = nib.load(original)
    if choices.volume_index is None or image.ndim < 4 or choices.volume_index >= image.shape[3]:
        return None
    try:
        affine_mm = _header_of_one(original).affine_mm
    except BrokenRuleError:  # the series has no place in the patient either: that comes first
        return None
    voxels = np.asarray(image.dataobj).reshape((*image.shape[:3], -1))[..., choices.volume_index]
    save_volume(copy, Volume(voxels=voxels, affine_mm=affine_mm), dtype=voxels.dtype)
    return Change(file=copy, before=f"shape {image.shape}", after=f"volume {choices.volume_index} of {image.shape[3]}")


def make_rectangular(original: Path, copy: Path, content: Content, choices: Choices) -> Change | None:
    """Resample a sheared scan onto the nearest rectangular grid of the same spacing that covers it.

    The axes of the new grid are the rotation nearest to the sheared ones (polar decomposition, Higham 1986). Scans are
    interpolated linearly, label maps take the nearest voxel; what was outside is the scan's lowest value, or 0.
    """
    del choices
    image: Any = nib.load(original)
    voxels, sheared_mm = _voxels(original), np.asarray(image.affine, dtype=np.float64)
    affine_mm, shape = rectangular_grid(sheared_mm, voxels.shape)
    to_sheared = np.linalg.inv(sheared_mm) @ affine_mm
    is_label = content == "label"
    resampled = ndimage.affine_transform(
        voxels if is_label else voxels.astype(np.float32),
        to_sheared[:3, :3],
        to_sheared[:3, 3],
        output_shape=shape,
        order=0 if is_label else 1,
        cval=0 if is_label else float(voxels.min()),
    )
    save_volume(copy, Volume(voxels=resampled, affine_mm=affine_mm), dtype=resampled.dtype)
    return Change(file=copy, before=f"sheared, {voxels.shape} voxels", after=f"rectangular, {shape} voxels")


def rectangular_grid(
    sheared_mm: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    """The grid of the same spacing, with axes at right angles, that covers all voxel centres of a sheared one.

    Args:
        sheared_mm: Affine, voxel index to world mm.
        shape: Voxels along i, j and k.

    Returns:
        Affine and shape of the new grid.
    """
    spacing_mm = np.linalg.norm(sheared_mm[:3, :3], axis=0)
    left, _, right = np.linalg.svd(sheared_mm[:3, :3] / spacing_mm)
    axes = (left @ right) * spacing_mm
    corners = np.array(np.meshgrid(*([0, size - 1] for size in shape))).reshape(3, -1)
    world_mm = sheared_mm[:3, :3] @ corners + sheared_mm[:3, 3:]
    index = np.linalg.inv(axes) @ world_mm
    first, last = index.min(axis=1), index.max(axis=1)
    affine_mm = np.eye(4)
    affine_mm[:3, :3], affine_mm[:3, 3] = axes, axes @ first
    return affine_mm, tuple(int(size) for size in np.ceil(np.round(last - first, 6)) + 1)


def count_anew(original: Path, copy: Path, num_training: int) -> Change:
    """Write a `dataset.json` with the number of training scans that there are."""
    content = json.loads(original.read_text(encoding="utf-8"))
    before = content.get("numTraining")
    with replaced_atomically(copy) as draft:
        draft.write_text(json.dumps({**content, "numTraining": num_training}, indent=1) + "\n", encoding="utf-8")
    return Change(file=copy, before=f"numTraining {before}", after=f"numTraining {num_training}")


CORRECTIONS: Mapping[str, Correction] = {
    "wrong-ending": rename,
    "no-affine": assume_spacing,
    "sheared-affine": make_rectangular,
    "negative-pixdim": write_header_anew,
    "not-3d": take_volume,
}
"""By rule; `wrong-num-training` is about a folder, see `count_anew`."""


def _header_of_one(path: Path) -> NiftiLayout:
    """The header of a series as if it held its first volume only."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        header = open_header(stream.read(NIFTI_2_BYTES))
    header["dim"][0] = 3
    header["dim"][4:] = 1
    return parse_header(header.binaryblock + bytes(4))


def _voxels(path: Path) -> npt.NDArray[Any]:
    """Voxels of a file whose affine cannot be used, scaled as its header says."""
    image: Any = nib.load(path)
    voxels: npt.NDArray[Any] = np.asarray(image.dataobj)
    return voxels.reshape(voxels.shape[:3]) if voxels.ndim > 3 else voxels


def gzip_ends_well(path: Path) -> bool:
    """Whether a compressed stream is whole: nibabel stops after the last voxel and would copy flipped bits."""
    if not path.name.endswith(".gz"):
        return True
    try:
        with gzip.open(path) as stream:
            while stream.read(1024**2):
                pass
    except (OSError, EOFError):
        return False
    return True
