"""Builders of tiny scans, headers and centres."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from diffuse_uda.data.volumes import Volume, save_volume

LABELS = {"background": 0, "ventricle": 1, "myocardium": 2}


def _header(**fields: Any) -> bytes:
    """A NIfTI-1 header of a 4 x 5 x 6 scan of 2 mm, with some fields overwritten."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((4, 5, 6))
    affine_mm = np.diag([2.0, 2.0, 2.0, 1.0])
    header.set_sform(affine_mm, code=1)
    header.set_qform(affine_mm, code=1)
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, entry in value.items():
                header[name][index] = entry
        else:
            header[name] = value
    return bytes(header.binaryblock) + b"\0\0\0\0"


@pytest.fixture
def nifti_header() -> Callable[..., bytes]:
    return _header


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    """Write a file byte by byte: a header with overwritten fields, and voxels 0, 1, 2, ..."""

    def write(path: Path, **fields: Any) -> Path:
        content = _header(**fields) + np.arange(120, dtype="<i2").tobytes()
        path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
        return path

    return write


def _scan(seed: int, shape: tuple[int, int, int] = (8, 8, 8)) -> npt.NDArray[np.int16]:
    """Noise everywhere, and a bright cube in the middle."""
    voxels = np.random.default_rng(seed).integers(1, 50, shape).astype(np.int16)
    voxels[2:6, 2:6, 2:6] += 500
    return voxels


def _label_map(shape: tuple[int, int, int] = (8, 8, 8)) -> npt.NDArray[np.uint8]:
    voxels = np.zeros(shape, dtype=np.uint8)
    voxels[2:4, 2:6, 2:6] = 1
    voxels[4:6, 2:6, 2:6] = 2
    return voxels


@pytest.fixture
def scan_voxels() -> Callable[..., npt.NDArray[np.int16]]:
    return _scan


@pytest.fixture
def label_voxels() -> Callable[..., npt.NDArray[np.uint8]]:
    return _label_map


@pytest.fixture
def write_volume() -> Callable[..., Path]:
    """Save voxels as a NIfTI file, 4 mm RAS+ unless told otherwise."""

    def write(path: Path, voxels: npt.NDArray[Any], affine_mm: npt.NDArray[np.float64] | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([4.0, 4.0, 4.0, 1.0]) if affine_mm is None else affine_mm
        save_volume(path, Volume(voxels=voxels, affine_mm=affine), dtype=voxels.dtype)
        return path

    return write


@pytest.fixture
def make_centre(tmp_path: Path, write_volume: Callable[..., Path]) -> Callable[..., Path]:
    """A sound centre: three training cases (labelled unless told otherwise) and two labelled test cases."""

    def make(name: str = "hospital", *, labelled: bool = True, **description: Any) -> Path:
        root = tmp_path / name
        for index in range(5):
            part = "Tr" if index < 3 else "Ts"
            seed = sum(name.encode()) * 10 + index
            write_volume(root / f"images{part}" / f"case{index}_0000.nii.gz", _scan(seed))
            if labelled or part == "Ts":
                write_volume(root / f"labels{part}" / f"case{index}.nii.gz", _label_map())
        content = {
            "channel_names": {"0": "T1w"},
            "labels": LABELS,
            "numTraining": 3,
            "file_ending": ".nii.gz",
            "evaluation": {"development": ["case3"], "test": ["case4"]},
        }
        (root / "dataset.json").write_text(json.dumps(content | description))
        return root

    return make
