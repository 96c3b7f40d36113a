"""Ways to spoil a sound centre, and what the gate says to it."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from diffuse_uda.data.intake import IntakeOptions, IntakeReport, examine_centre
from diffuse_uda.data.volumes import Volume, load_volume, save_volume
from diffuse_uda.types import SiteRole

IMAGE, LABELS = "imagesTr/case1_0000.nii.gz", "labelsTr/case1.nii.gz"


class Spoiler:
    """A centre of three training and two held-out scans of 8 x 8 x 8 voxels of 4 mm, and its case 1."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.image_path, self.labels_path = root / IMAGE, root / LABELS
        self.image: np.ndarray[Any, Any] = load_volume(self.image_path).voxels
        self.labels: np.ndarray[Any, Any] = load_volume(self.labels_path).voxels

    def save(self, name: str | Path, voxels: Any, affine_mm: Any = None) -> None:
        affine_mm = np.diag([4.0, 4.0, 4.0, 1.0]) if affine_mm is None else np.asarray(affine_mm, dtype=np.float64)
        save_volume(self.root / name, Volume(voxels=voxels, affine_mm=affine_mm), dtype=voxels.dtype)

    def write(self, content: bytes) -> None:
        self.image_path.write_bytes(content)

    def image_with(self, value: float, dtype: str = "float32") -> None:
        voxels = self.image.astype(dtype)
        voxels[1, 2, 3] = voxels[4, 4, 4] = value
        self.save(IMAGE, voxels)

    def label_with(self, value: float, dtype: str) -> None:
        voxels = self.labels.astype(dtype)
        voxels[1, 2, 3] = value
        self.save(LABELS, voxels)

    def cut(self, length: int | None = None) -> None:
        content = self.image_path.read_bytes()
        self.write(content[: len(content) // 2 if length is None else length])

    def header(self, path: Path | None = None, **fields: Any) -> None:
        """Overwrite fields of a file's header; a dict names single entries of an array."""
        path = path or self.image_path
        content = gzip.decompress(path.read_bytes())
        header = nib.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            for index, entry in value.items() if isinstance(value, dict) else ((..., value),):
                header[name][index] = entry
        path.write_bytes(gzip.compress(header.binaryblock + content[348:]))

    def both_headers(self, **fields: Any) -> None:
        self.header(self.image_path, **fields)
        self.header(self.labels_path, **fields)

    def uncompressed(self) -> Path:
        """Turn the image of case 1 into a .nii file."""
        path = self.image_path.with_suffix("")
        path.write_bytes(gzip.decompress(self.image_path.read_bytes()))
        self.image_path.unlink()
        return path

    def describe(self, **changes: Any) -> None:
        path = self.root / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def examine(self, role: SiteRole = SiteRole.SOURCE, **options: Any) -> IntakeReport:
        return examine_centre(self.root, role, site_id="leeds", options=IntakeOptions(**options), num_workers=1)


@pytest.fixture(scope="session")
def sound_centre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once, then copied: noise with a bright cube, of which one half is class 1, the other class 2."""
    root = tmp_path_factory.mktemp("sound") / "hospital"
    label_map = np.zeros((8, 8, 8), dtype=np.uint8)
    label_map[2:4, 2:6, 2:6], label_map[4:6, 2:6, 2:6] = 1, 2
    for index in range(5):
        part = "Tr" if index < 3 else "Ts"
        scan = np.random.default_rng(index).integers(1, 50, (8, 8, 8)).astype(np.int16) + np.int16(500) * (
            label_map > 0
        )
        for name, voxels in ((f"images{part}/case{index}_0000", scan), (f"labels{part}/case{index}", label_map)):
            path = root / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_volume(path, Volume(voxels=voxels, affine_mm=np.diag([4.0, 4.0, 4.0, 1.0])), dtype=voxels.dtype)
    description = {
        "channel_names": {"0": "T1w"},
        "labels": {"background": 0, "ventricle": 1, "myocardium": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "evaluation": {"development": ["case3"], "test": ["case4"]},
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.fixture
def spoiler(sound_centre: Path, tmp_path: Path) -> Spoiler:
    return Spoiler(Path(shutil.copytree(sound_centre, tmp_path / "hospital")))
