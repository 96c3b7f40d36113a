"""A label map as one PNG image a slice, beside the slices of a DICOM series (CHAOS).

Row and column of the image are those of the slice; which slice it is follows from the position in the DICOM file that
it is paired with, never from its place in the list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.io import imread

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.formats.dicom_frames import frames_of
from diffuse_uda.data.formats.dicom_seg import slice_of
from diffuse_uda.data.volumes import Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class Greys:
    """Grey values that mean one label, both ends included."""

    lowest: int
    highest: int
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PngMasks:
    """Images and slices in pairs, as a label source."""

    pairs: tuple[tuple[Path, Path], ...]
    """PNG image and DICOM file."""
    greys: tuple[Greys, ...]

    def load(self, image: Volume) -> Volume:
        """Read the images into a label map of the scan.

        Raises:
            BrokenRuleError: If an image is unreadable, has another size than its slice, or a grey value of no label.
        """
        label_map = np.zeros(image.shape, dtype=np.uint8)
        for png, dicom in self.pairs:
            (frame,) = frames_of(dicom)
            label_map[:, :, slice_of(frame.plane, image)] = self._numbers(png, image.shape[:2])
        return Volume(voxels=label_map, affine_mm=image.affine_mm)

    def _numbers(self, png: Path, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        try:
            pixels: npt.NDArray[Any] = np.asarray(imread(png))
        except (OSError, ValueError, SyntaxError) as error:
            raise _unreadable(found=f"{png.name}: {type(error).__name__}", wanted="a PNG image") from error
        if pixels.ndim != 2 or pixels.T.shape != size:
            raise _unreadable(
                found=f"{png.name} of {pixels.shape}", wanted=f"{size[1]} rows and {size[0]} columns of grey values"
            )
        if pixels.dtype == np.bool_:
            pixels = pixels.astype(np.uint8) * 255
        numbers = np.zeros(pixels.shape, dtype=np.uint8)
        for grey in self.greys:
            numbers[(pixels >= grey.lowest) & (pixels <= grey.highest)] = grey.number
        if bool(((pixels > 0) & (numbers == 0)).any()):
            odd = sorted({int(value) for value in np.unique(pixels[(pixels > 0) & (numbers == 0)])})
            raise BrokenRuleError(
                "label-outside-map",
                found=f"grey values {odd[:10]} in {png.name}",
                wanted=f"0, or {', '.join(f'{grey.lowest} to {grey.highest}' for grey in self.greys)}",
                fix="use the masks as published; a resaved or resampled PNG mixes greys",
            )
        return numbers.T


def paired_by_name(pngs: Sequence[Path], slices: Sequence[Path]) -> tuple[tuple[Path, Path], ...]:
    """Pair images with slices: by equal names where all are equal, else both in the order of their names.

    Raises:
        BrokenRuleError: If there are not as many of one as of the other.
    """
    by_stem = {path.stem: path for path in slices}
    if {path.stem for path in pngs} == by_stem.keys() and len(pngs) == len(slices):
        return tuple((png, by_stem[png.stem]) for png in sorted(pngs))
    if len(pngs) != len(slices):
        raise _unreadable(found=f"{len(pngs)} masks for {len(slices)} slices", wanted="one mask for every slice")
    return tuple(zip(sorted(pngs, key=_by_number), sorted(slices, key=_by_number), strict=True))


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.stem


def _unreadable(*, found: str, wanted: str) -> BrokenRuleError:
    return BrokenRuleError(
        "png-masks", found=found, wanted=wanted, fix="copy the case again from the published archive"
    )
