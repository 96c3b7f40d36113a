"""What the intake gate costs beside merely reading the same files, in one run and in one process."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffuse_uda.data.intake import Verdict, examine_centre
from diffuse_uda.data.volumes import Volume, load_volume, save_volume
from diffuse_uda.types import SiteRole

SPEED_TARGET = 0.8
"""Of the speed of merely reading."""
NUM_CASES = 1000
SIDE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeCost:
    """Seconds for the same folder of scans and label maps."""

    num_cases: int
    reading_s: float
    checking_s: float

    @property
    def relative_speed(self) -> float:
        """Speed of checking over that of reading; 1 would be a gate that costs nothing."""
        return self.reading_s / self.checking_s


def measure_intake(
    *, num_cases: int = NUM_CASES, seed: int = 0, clock: Callable[[], float] = time.perf_counter
) -> IntakeCost:
    """Read, and check, a source of scans of 64 x 64 x 64 voxels with label maps, in this process.

    Both ways are measured in turns over tenths of the folder, so that a machine that becomes busy slows both. The files
    were just written, so no disk is measured.
    """
    with tempfile.TemporaryDirectory() as temporary:
        parts = [_write_source(Path(temporary) / f"part{part}", num_cases // 10, seed + part) for part in range(10)]
        reading_s = checking_s = 0.0
        for part in parts:
            started = clock()
            for path in sorted(part.glob("*Tr/*.nii.gz")):
                load_volume(path)
            read = clock()
            report = examine_centre(part, SiteRole.SOURCE, site_id=part.name, num_workers=1)
            checked = clock()
            assert report.verdict is Verdict.FINE, report.findings  # noqa: S101 - else something else was measured
            reading_s, checking_s = reading_s + read - started, checking_s + checked - read
    return IntakeCost(num_cases=10 * (num_cases // 10), reading_s=reading_s, checking_s=checking_s)


def _write_source(folder: Path, num_cases: int, seed: int) -> Path:
    """Heads as smooth as scans are: a ball with a shell and a core, noise over it, air around it."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    axis = np.linspace(-1.0, 1.0, SIDE)
    radius = np.sqrt(axis[:, None, None] ** 2 + (1.2 * axis[None, :, None]) ** 2 + (1.1 * axis[None, None, :]) ** 2)
    label_map = np.digitize(-radius, (-0.8, -0.6, -0.3)).astype(np.uint8)
    brightness = np.array([0.0, 300.0, 700.0, 500.0])[label_map]
    rng = np.random.default_rng(seed)
    for case in range(num_cases):
        noise = rng.normal(0.0, 20.0, radius.shape)
        scan = np.clip(brightness * rng.uniform(0.9, 1.1) + noise, 0, None).astype(np.int16)
        for name, voxels in ((f"imagesTr/c{case:04}_0000", scan), (f"labelsTr/c{case:04}", label_map)):
            volume = Volume(voxels=voxels, affine_mm=np.diag([3.0, 3.0, 3.0, 1.0]))
            save_volume(folder / f"{name}.nii.gz", volume, dtype=voxels.dtype)
    labels = {"background": 0, "shell": 1, "body": 2, "core": 3}
    description = {"channel_names": {"0": "T1w"}, "labels": labels, "numTraining": num_cases}
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return folder
