"""What is shown black and white of a scan, whatever made it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.reporting.planes import grey_window

AIR_HU = -900.0
BONE_HU = 150.0
SOFT_TISSUE_HU = (-160.0, 240.0)
"""Width 400, level 40: the window that abdomen, heart and muscle are read in."""
LEAST_AIR = 0.02
LEAST_BONE = 0.0005


def scan_window(image: npt.NDArray[Any]) -> tuple[float, float]:
    """Choose black and white: Hounsfield units get a soft tissue window, everything else percentiles of the body.

    Percentiles of a CT would give half of the grey to bone and air, and leave organs that nobody can tell apart.
    """
    return SOFT_TISSUE_HU if is_hounsfield(image) else grey_window(image)


def is_hounsfield(image: npt.NDArray[Any]) -> bool:
    """Tell a CT in Hounsfield units by its air and its bone, which no other modality has at these values."""
    air = np.count_nonzero(image <= AIR_HU) / image.size
    bone = np.count_nonzero(image >= BONE_HU) / image.size
    return bool(air >= LEAST_AIR and bone >= LEAST_BONE)


def as_grey(picture: npt.NDArray[Any], window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Bring intensities to 0 (black and below) to 255 (white and above)."""
    black, white = window
    share = (picture.astype(np.float32) - black) / (white - black)
    return (share.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
