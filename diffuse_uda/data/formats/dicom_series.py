"""A scan as a DICOM series: planes by content, checked to be one volume, one value a voxel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_frames import frames_of, modality_values
from diffuse_uda.data.formats.dicom_geometry import stacked
from diffuse_uda.data.volumes import Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSeries:
    """The files of one series, in any order."""

    files: tuple[Path, ...]

    def load(self) -> Volume:
        """Read the series.

        Returns:
            Values after the modality transform (`dicom_frames`), int16 or int32 where they are whole, else float32.

        Raises:
            BrokenRuleError: If a file cannot be read, or the planes are no volume (`dicom_geometry.stacked`).
        """
        frames = [frame for file in self.files for frame in frames_of(file)]
        if not frames:
            raise BrokenRuleError("dicom-single-slice", found="no plane", wanted="a series", fix="check the options")
        stack = stacked([frame.plane for frame in frames])
        slice_of = {(frames[index].path, frames[index].index): k for k, index in enumerate(stack.order)}
        voxels: npt.NDArray[Any] = np.zeros(stack.shape, dtype=np.int32)
        for file in self.files:
            values = modality_values(file)
            if values.dtype.kind == "f" and voxels.dtype.kind != "f":
                voxels = voxels.astype(np.float32)
            for index, plane in enumerate(values):
                voxels[:, :, slice_of[file, index]] = plane.T  # (row, column) to (i, j)
        if voxels.dtype.kind == "i" and voxels.min() >= -(2**15) and voxels.max() < 2**15:
            voxels = voxels.astype(np.int16)
        return Volume(voxels=voxels, affine_mm=stack.affine_mm)
