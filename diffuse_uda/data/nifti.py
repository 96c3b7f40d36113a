"""The NIfTI header, checked before a single voxel is read.

Field names and the order of the transforms follow the NIfTI-1 standard (https://nifti.nimh.nih.gov/nifti-1).
Common readers repair or invent what is missing here (an affine, a spacing); a federation must not, because the
invention differs from reader to reader and the mistake only shows as a bad model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.nifti_affine import checked_affine, take_absolute_pixdim
from diffuse_uda.types import Triple

HEADER_BYTES = 352
"""NIfTI-1: 348 bytes and the four that announce extensions; also enough to tell NIfTI-2."""
NIFTI_2_BYTES = 544
MAX_VOXEL_BYTES = 2 * 1024**3
MAX_EXTENSION_BYTES = 64 * 1024**2

_MAGIC = {348: b"n+1\0", 540: b"n+2\0"}
_VOXEL_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_RGB_TYPES = {128: "RGB", 2304: "RGBA"}


@dataclass(frozen=True, kw_only=True, slots=True)
class NiftiLayout:
    """Where the voxels of one file are, how to read them, and where they are in the patient."""

    shape: Triple
    voxel_type: np.dtype[Any]
    """As stored, with its byte order."""
    offset_bytes: int
    slope: float
    intercept: float
    affine_mm: npt.NDArray[np.float64]
    notes: tuple[BrokenRuleError, ...] = ()
    """Rules that the header breaks and that do not keep anybody from reading it."""

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers are not the intensities yet."""
        return self.slope != 1.0 or self.intercept != 0.0

    @property
    def voxel_bytes(self) -> int:
        """Bytes of the stored voxels."""
        return math.prod(self.shape) * self.voxel_type.itemsize


def parse_header(block: bytes) -> NiftiLayout:
    """Check a NIfTI header and say where the voxels are.

    A negative pixdim is read as its absolute value, like everybody does, and noted.

    Args:
        block: The first `HEADER_BYTES` bytes of the uncompressed file, `NIFTI_2_BYTES` where `is_nifti_2` says so.

    Returns:
        The layout of a single three-dimensional scan.

    Raises:
        BrokenRuleError: If it is no NIfTI single file, or not one three-dimensional scan of plain numbers with a
            usable affine.
    """
    header = open_header(block)
    notes = take_absolute_pixdim(header)
    shape = _checked_shape(header)
    voxel_type = _checked_voxel_type(header)
    layout = NiftiLayout(
        shape=shape,
        voxel_type=voxel_type,
        offset_bytes=_checked_offset(header),
        **_checked_scaling(header),
        affine_mm=checked_affine(header, shape),
        notes=notes,
    )
    if layout.voxel_bytes > MAX_VOXEL_BYTES:
        raise BrokenRuleError(
            "absurd-size",
            found=f"the header claims {shape} voxels of {voxel_type.itemsize} bytes: {layout.voxel_bytes:,} bytes",
        )
    return layout


def is_nifti_2(block: bytes) -> bool:
    """Whether the header is the longer one, by its own size field in either byte order."""
    return (540).to_bytes(4, "little") == block[:4] or (540).to_bytes(4, "big") == block[:4]


def open_header(block: bytes) -> nib.Nifti1Header:
    """Read a header as it is, unrepaired, in either version and byte order.

    Raises:
        BrokenRuleError: If it is none.
    """
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    size = next(iter(sizes & _MAGIC.keys()), 0)
    magic = block[344:348] if size != 540 else block[4:8]
    if size == 0 or magic != _MAGIC[size] or len(block) < size:
        raise BrokenRuleError(
            "wrong-magic",
            found=f"{len(block)} bytes of header, size field {sorted(sizes)}, magic {magic!r}",
        )
    header_class = nib.Nifti1Header if size == 348 else nib.Nifti2Header
    return header_class(block[:size], check=False)


def _checked_shape(header: nib.Nifti1Header) -> Triple:
    dim = [int(n) for n in header["dim"]]
    num_axes, sizes = dim[0], dim[1 : 1 + max(dim[0], 0)]
    if not 1 <= num_axes <= 7 or min(sizes) < 1:
        raise BrokenRuleError("zero-dimension", found=f"dim = {dim}")
    if num_axes >= 5 and max(sizes[4:]) > 1:
        raise BrokenRuleError("vector-voxels", found=f"a vector in every voxel, shape {tuple(sizes)}")
    if num_axes < 3 or max(sizes[3:], default=1) > 1:
        raise BrokenRuleError("not-3d", found=f"{num_axes} axes, shape {tuple(sizes)}")
    return sizes[0], sizes[1], sizes[2]


def _checked_voxel_type(header: nib.Nifti1Header) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code in _RGB_TYPES:
        raise BrokenRuleError(
            "rgb-voxels",
            found=f"{_RGB_TYPES[code]} colours in every voxel (datatype {code})",
        )
    if code not in _VOXEL_TYPES:
        raise BrokenRuleError("voxel-type", found=f"datatype {code}")
    byte_order: str = header.endianness
    return np.dtype(byte_order + _VOXEL_TYPES[code])


def _checked_offset(header: nib.Nifti1Header) -> int:
    offset, least = float(header["vox_offset"]), int(header["sizeof_hdr"]) + 4
    if not least <= offset <= least + MAX_EXTENSION_BYTES:
        raise BrokenRuleError(
            "wrong-offset", found=f"vox_offset {offset:g}", wanted=f"vox_offset {least} or a little more"
        )
    return int(offset)


def _checked_scaling(header: nib.Nifti1Header) -> dict[str, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise BrokenRuleError("scaling-not-finite", found=f"scl_slope {slope:g}, scl_inter {intercept:g}")
    # The standard: a slope of zero means that nothing is scaled.
    return {"slope": slope, "intercept": intercept} if slope != 0 else {"slope": 1.0, "intercept": 0.0}
