"""One tiny anatomy, to be written in every layout: random voxels, two structures that are boxes, an oblique affine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from diffuse_uda.data.volumes import Volume
from diffuse_uda.types import Triple
from tests.planted import PATIENT

SHAPE: Triple = (8, 7, 5)
BOXES = {1: (slice(1, 4), slice(1, 4), slice(1, 4)), 2: (slice(4, 6), slice(2, 5), slice(0, 3))}
"""Number of a structure to the voxels it has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """A scan and its label map."""

    image: Volume
    label_map: Volume


def oblique_affine_mm() -> npt.NDArray[np.float64]:
    """Voxels of 1.5 x 2 x 3 mm, turned by 0.2 and 0.1 rad; right angles and a positive determinant."""
    a, b = 0.2, 0.1
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine_mm = np.eye(4)
    affine_mm[:3, :3] = about_z @ about_x @ np.diag([1.5, 2.0, 3.0])
    affine_mm[:3, 3] = (-11.25, 7.5, 30.0)
    return affine_mm


def an_anatomy(seed: int = 0, *, shape: Triple = SHAPE, affine_mm: npt.NDArray[np.float64] | None = None) -> Anatomy:
    """Draw one; no two seeds share their voxels."""
    affine = oblique_affine_mm() if affine_mm is None else affine_mm
    voxels = np.random.default_rng(seed).integers(-100, 900, shape).astype(np.int16)
    label_map = np.zeros(shape, dtype=np.uint8)
    for number, box in BOXES.items():
        label_map[box] = number
    return Anatomy(image=Volume(voxels=voxels, affine_mm=affine), label_map=Volume(voxels=label_map, affine_mm=affine))


def renumbered(volume: Volume, numbers: dict[int, int]) -> Volume:
    """The same label map with other numbers."""
    table = np.zeros(256, dtype=np.int16)
    for old, new in numbers.items():
        table[old] = new
    return Volume(voxels=table[volume.voxels], affine_mm=volume.affine_mm)


def striped(shape: Triple, numbers: list[int], affine_mm: npt.NDArray[np.float64]) -> Volume:
    """A label map in which the background and every number have a layer, in this order along the first axis."""
    size, values = int(np.prod(shape)), np.array([0, *numbers], dtype=np.int16)
    return Volume(voxels=values[np.arange(size) * len(values) // size].reshape(shape), affine_mm=affine_mm)


def scan_of(label_map: Volume, seed: int, *, is_ct: bool = False) -> Volume:
    """A scan that shows a label map: higher numbers are brighter, with noise that no two seeds share; in CT, in air."""
    ranks = np.unique(label_map.voxels, return_inverse=True)[1].reshape(label_map.shape)
    noise = np.random.default_rng(seed).integers(0, 60, label_map.shape)
    voxels = np.where((ranks == 0) & is_ct, -1000, 100 * ranks) + noise
    return Volume(voxels=voxels.astype(np.int16), affine_mm=label_map.affine_mm)


def in_axis_order(volume: Volume, codes: str) -> Volume:
    """The same voxels in the patient, stored with axes that grow towards, say, `LPS`."""
    wanted = nib.orientations.axcodes2ornt(tuple(codes))
    change = nib.orientations.ornt_transform(io_orientation(volume.affine_mm), wanted)
    return Volume(
        voxels=np.ascontiguousarray(apply_orientation(volume.voxels, change)),
        affine_mm=volume.affine_mm @ inv_ornt_aff(change, volume.shape),
    )


def assert_same_in_patient_space(found: Volume, wanted: Volume) -> None:
    """Same voxels at the same mm, whatever the order of the axes."""
    first, second = in_axis_order(found, "RAS"), in_axis_order(wanted, "RAS")
    np.testing.assert_allclose(first.affine_mm, second.affine_mm, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(first.voxels, second.voxels)


def save_planted(path: Path, volume: Volume) -> Path:
    """Write a NIfTI file whose free header fields, extension included, hold a patient's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(volume.voxels, volume.affine_mm)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine_mm, code=1)
    image.set_qform(volume.affine_mm, code=1)
    for name, length in (("descrip", 79), ("aux_file", 23), ("intent_name", 15), ("db_name", 17)):
        image.header[name] = PATIENT.encode()[:length]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PATIENT.encode()))
    nib.save(image, path)
    return path
