"""Scans of an ellipsoid with a segmentation that is there already: looking at them needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.review.scans import ReviewScan
from diffuse_uda.review.site_report import ReviewPlan

NAMES = ("background", "shell", "core")


def ellipsoid(radius: float) -> np.ndarray:
    """A core in a shell, in a volume of 16 x 18 x 14 voxels."""
    axes = np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 18), np.linspace(-1, 1, 14), indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes)) / radius
    label_map: np.ndarray = (distance < 0.8).astype(np.uint8) + (distance < 0.4)
    return label_map


def write_volume(path: Path, voxels: np.ndarray) -> Path:
    """Voxels of 2 x 2 x 2.5 mm, hence of 0.01 ml."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(path, Volume(voxels=voxels, affine_mm=np.diag([2.0, 2.0, 2.5, 1.0])), dtype=voxels.dtype)
    return path


def write_scan(path: Path, label_map: np.ndarray, seed: int) -> Path:
    """A noisy scan of what a label map shows."""
    noise = np.random.default_rng(seed).normal(scale=0.05, size=label_map.shape)
    return write_volume(path, (100 * label_map + 10 * (label_map > 0) + noise).astype(np.float32))


def six_cases(folder: Path, **changes: object) -> ReviewPlan:
    """Six cases; `case5` is far larger than the others, `case0` has an island and a reference."""
    scans = []
    for number in range(6):
        name = f"case{number}"
        label_map = ellipsoid(1.2 if number == 5 else 0.7 + 0.01 * number)
        found = label_map.copy()
        found[0, 0, 0] = number == 0
        scans.append(
            ReviewScan(
                case_id=name,
                image=write_scan(folder / "scans" / f"{name}_0000.nii.gz", label_map, number),
                prediction=write_volume(folder / "found" / f"{name}.nii.gz", found),
                reference=None
                if number
                else write_volume(folder / "drawn" / f"{name}.nii.gz", np.roll(label_map, 1, axis=0)),
            )
        )
    values: dict[str, object] = {"title": "six cases", "scans": scans, "label_names": NAMES, "out": folder / "report"}
    return ReviewPlan(**{**values, **changes})  # type: ignore[arg-type]
