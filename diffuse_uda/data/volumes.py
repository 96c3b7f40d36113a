"""Voxels with their affine, and the way from and to a NIfTI file."""

from __future__ import annotations

import errno
import gzip
import io
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.nifti import HEADER_BYTES, NIFTI_2_BYTES, NiftiLayout, is_nifti_2, parse_header
from diffuse_uda.data.nifti_affine import largest_corner_offset_mm
from diffuse_uda.errors import GeometryError
from diffuse_uda.types import Spacing, Triple

FILE_ENDINGS = (".nii.gz", ".nii")
MAX_DEFLATE_RATIO = 1032
"""No deflate stream expands further (RFC 1951: 258 bytes for two bits)."""
MAX_TRAILING_BYTES = 64 * 1024**2
FREE_EXPANSION_BYTES = 1024**2
"""Voxels below this are no bomb, however well they were compressed."""
SAME_GRID_TOLERANCE_MM = 1e-2
"""Rounding of 1e-5 in a direction moves the far corner of 512 voxels by less than this."""

_DESCRIP_BYTES = 79
_GZIP_MAGIC = b"\x1f\x8b"
_POINTERS = {b"version https://git-lfs": "Git LFS", b"/annex/objects/": "git-annex"}
_MOUNT_ERRORS = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN, errno.ETIMEDOUT}
)
"""What reading says when the disk itself has gone, and not the file."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Volume:
    """Voxels and the affine that takes voxel indices (i, j, k) to world mm (RAS+)."""

    voxels: npt.NDArray[Any]
    """Shape (i, j, k)."""
    affine_mm: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse what is no volume: everything later relies on it."""
        if self.voxels.ndim != 3 or self.affine_mm.shape != (4, 4):
            msg = f"a volume is (i, j, k) voxels and a 4x4 affine, got {self.voxels.shape} and {self.affine_mm.shape}"
            raise GeometryError(msg)

    @property
    def shape(self) -> Triple:
        """Voxels along i, j and k."""
        i, j, k = self.voxels.shape
        return i, j, k

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between voxel centres along i, j and k."""
        i, j, k = np.linalg.norm(self.affine_mm[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def orientation(self) -> str:
        """Where i, j and k grow towards, as a word such as `RAS`."""
        return "".join(nib.aff2axcodes(self.affine_mm))


def load_volume(path: Path) -> Volume:
    """Read one scan or label map from a NIfTI single file, all of it; see `load_scan`.

    Args:
        path: A `.nii.gz` or `.nii` file.

    Returns:
        Voxels in the machine's byte order, as stored or, where the header scales them, as float32.

    Raises:
        BrokenRuleError: With the rule that the file breaks.
    """
    volume, _ = load_scan(path)
    return Volume(voxels=np.ascontiguousarray(volume.voxels), affine_mm=volume.affine_mm)


def load_scan(
    path: Path, *, max_expansion: int = MAX_DEFLATE_RATIO, shape: Triple | None = None
) -> tuple[Volume, NiftiLayout]:
    """Read one scan or label map from a NIfTI single file, with what its header says.

    The compressed stream is always read to its end, so that its checksum is verified: a reader that stops after the
    last voxel accepts flipped bits. Sizes are checked by arithmetic before memory is allocated.

    Args:
        path: A `.nii.gz` or `.nii` file.
        max_expansion: How many times larger than the compressed file the voxels may be.
        shape: Voxels along i, j and k that the file must have; any, if not given.

    Returns:
        Voxels in the machine's byte order, as stored or, where the header scales them, as float32, to be looked
        at only: they may be the very bytes that were read, with i changing fastest. And the header.

    Raises:
        BrokenRuleError: With the rule that the file breaks.
    """
    if not path.name.endswith(FILE_ENDINGS):
        raise BrokenRuleError("unsupported-format", found=path.name)
    try:
        size_bytes = _checked_file_size(path)
        with path.open("rb") as file:
            _check_container(path, file.read(512))
            file.seek(0)
            if path.name.endswith(".gz"):
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read_stream(stream, size_bytes, max_expansion, shape)
            return _read_stream(file, size_bytes, 1, shape)
    except EOFError as error:
        raise BrokenRuleError("truncated-gzip", found=f"a compressed stream without an end ({error})") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BrokenRuleError("damaged-gzip", found=f"a compressed stream with flipped bits ({error})") from error
    except OSError as error:
        found = error.strerror or type(error).__name__
        if error.errno in _MOUNT_ERRORS:
            raise BrokenRuleError("storage-gone", found=found) from error
        raise BrokenRuleError("unreadable-file", found=found) from error


def _checked_file_size(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        found = "a link to a file that is not here" if path.is_symlink() else "no such file"
        fix = "fetch it (`git annex get`)" if path.is_symlink() else "restore the file, or take the case out"
        raise BrokenRuleError("missing-file", found=found, fix=fix) from error
    if not stat.S_ISREG(status.st_mode):
        raise BrokenRuleError("not-a-file", found=f"a {stat.filemode(status.st_mode)} entry")
    if status.st_size == 0:
        raise BrokenRuleError("empty-file", found="zero bytes")
    return status.st_size


def _check_container(path: Path, start: bytes) -> None:
    for mark, system in _POINTERS.items():
        if start.startswith(mark):
            raise BrokenRuleError("pointer-file", found=f"a {system} pointer, not the scan itself")
    is_gzip, says_gzip = start.startswith(_GZIP_MAGIC), path.name.endswith(".gz")
    if is_gzip != says_gzip:
        raise BrokenRuleError(
            "wrong-ending",
            found="gzip data in a file named .nii" if is_gzip else "no gzip data in a file named .nii.gz",
            fix="rename it to .nii.gz" if is_gzip else "rename it to .nii if that is what it is, or copy it again",
        )


def _read_stream(
    stream: BinaryIO | gzip.GzipFile, size_bytes: int, max_expansion: int, shape: Triple | None
) -> tuple[Volume, NiftiLayout]:
    start = stream.read(HEADER_BYTES)
    if is_nifti_2(start):
        start += stream.read(NIFTI_2_BYTES - HEADER_BYTES)
    layout = parse_header(start)
    needed = layout.offset_bytes + layout.voxel_bytes
    _check_size(stream, needed, size_bytes, max_expansion)
    if shape is not None and layout.shape != shape:
        raise BrokenRuleError("shape-differs", found=f"image is {shape} voxels, label map is {layout.shape}")
    extensions = stream.read(layout.offset_bytes - len(start))
    content = stream.read(layout.voxel_bytes)
    if len(content) < layout.voxel_bytes:
        raise _too_short(needed, f"{len(start) + len(extensions) + len(content):,} bytes")
    trailing = 0
    while chunk := stream.read(1024**2):
        trailing += len(chunk)
        if trailing > MAX_TRAILING_BYTES:
            raise BrokenRuleError("trailing-data", found=f"more than {MAX_TRAILING_BYTES:,} bytes after the last voxel")
    return Volume(voxels=_decode(content, layout), affine_mm=layout.affine_mm), layout


def _check_size(stream: BinaryIO | gzip.GzipFile, needed: int, size_bytes: int, max_expansion: int) -> None:
    """Compare what the header asks for with what the file can hold, before anything is allocated."""
    largest = size_bytes * (MAX_DEFLATE_RATIO if isinstance(stream, gzip.GzipFile) else 1)
    if needed > largest:
        raise _too_short(needed, f"a file that cannot hold more than {largest:,} bytes")
    if needed > FREE_EXPANSION_BYTES and needed > size_bytes * max_expansion:
        raise BrokenRuleError("gzip-bomb", found=f"{size_bytes:,} bytes that grow to {needed:,}")


def _too_short(needed: int, found: str) -> BrokenRuleError:
    return BrokenRuleError("truncated-file", found=found, wanted=f"{needed:,} bytes by the header's own numbers")


def _decode(content: bytes, layout: NiftiLayout) -> npt.NDArray[Any]:
    """Numbers in the machine's byte order, i changing fastest in memory as in the file."""
    stored = np.frombuffer(content, layout.voxel_type).reshape(layout.shape, order="F")
    if not layout.is_scaled:
        return stored.astype(layout.voxel_type.newbyteorder("="), order="K", copy=False)
    scaled = stored.astype(np.float64, order="K")
    scaled *= layout.slope
    scaled += layout.intercept
    return scaled.astype(np.float32)


def save_volume(path: Path, volume: Volume, *, dtype: npt.DTypeLike, remark: str = "") -> None:
    """Write a NIfTI file with a header made from nothing but voxels and affine.

    No field of any scan's header is carried over, so neither a name in `descrip` nor an extension can travel. The same
    volume gives the same bytes (no time stamp); the file appears at once or not at all.

    Args:
        path: Ends in `.nii.gz` or `.nii`; its folder must exist.
        volume: What to write.
        dtype: Stored type, for instance uint8 for a label map; every value must survive it.
        remark: ASCII text that others shall see, such as that nobody was scanned: in `descrip` as far as it fits, and
            whole in a comment extension.

    Raises:
        ValueError: If the ending is another one, or values do not fit the type.
    """
    if not path.name.endswith(FILE_ENDINGS):
        msg = f"cannot write {path.name}: the name must end in {' or '.join(FILE_ENDINGS)}"
        raise ValueError(msg)
    wanted = np.dtype(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        stored = volume.voxels.astype(wanted)
    if wanted.kind != "f" and not np.array_equal(stored, volume.voxels):
        msg = f"{path.name}: values from {volume.voxels.min()} to {volume.voxels.max()} do not all fit {wanted}"
        raise ValueError(msg)
    image = nib.Nifti1Image(stored, volume.affine_mm, dtype=wanted)
    image.header.set_xyzt_units(xyz="mm")
    image.set_sform(volume.affine_mm, code="scanner")
    image.set_qform(volume.affine_mm, code="scanner")
    if remark:
        image.header["descrip"] = remark.encode("ascii")[:_DESCRIP_BYTES]
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", remark.encode("ascii")))
    content = io.BytesIO()
    image.to_stream(content)
    with replaced_atomically(path) as part, part.open("wb") as file:
        if path.name.endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as stream:
                stream.write(content.getbuffer())
        else:
            file.write(content.getbuffer())


def require_same_grid(image: Volume, label_map: Volume, *, tolerance_mm: float = SAME_GRID_TOLERANCE_MM) -> None:
    """Refuse an image and a label map that would silently misalign.

    Args:
        image: The scan.
        label_map: Its label map.
        tolerance_mm: How far apart the two may put the same voxel.

    Raises:
        GeometryError: If shapes differ, or any voxel is further apart than `tolerance_mm`.
    """
    if image.shape != label_map.shape:
        msg = f"image is {image.shape} voxels, label map is {label_map.shape}"
        raise GeometryError(msg)
    offset_mm = largest_corner_offset_mm(image.affine_mm, label_map.affine_mm, image.shape)
    if not offset_mm <= tolerance_mm:
        msg = (
            f"image ({image.orientation}, {_words(image.spacing_mm)} mm) and label map ({label_map.orientation}, "
            f"{_words(label_map.spacing_mm)} mm) put the same voxel {offset_mm:.3g} mm apart, "
            f"allowed {tolerance_mm:g} mm"
        )
        raise GeometryError(msg)


def _words(spacing_mm: Spacing) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing_mm)
