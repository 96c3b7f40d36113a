"""Everything a case browser shows of one case: three planes, where they lie in the body, a small picture for a list."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.normalise import foreground_mask
from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import GeometryError
from diffuse_uda.reporting.grey import scan_window
from diffuse_uda.reporting.planes import Cut, Plane, find_cut, pixel_aspect, ras_spacing_mm, take_plane, turn_to_ras
from diffuse_uda.reporting.sprites import Box, PlaneSheets, SpriteLimits, cut_sheets, thumbnail
from diffuse_uda.types import Spacing, Triple

MARGIN_VOXELS = 2
THUMBNAIL_PX = 112


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseSheets:
    """One case, ready for a page."""

    planes: tuple[PlaneSheets, ...]
    box: Box
    """Voxels that are shown, along right, anterior and superior."""
    shape: Triple
    """Voxels along right, anterior and superior."""
    spacing_mm: Spacing
    orientation: str
    """Where the file's own axes grow towards, such as `LPS`."""
    oblique_degrees: float
    """Largest angle between an axis of the scan and the nearest one of the body."""
    small: bytes
    """JPEG for a list."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all pictures."""
        sheets = (
            sheet for plane in self.planes for sheet in (plane.scan, *plane.found.values(), *plane.drawn.values())
        )
        return sum(map(len, sheets)) + len(self.small)


def case_sheets(
    image: Volume,
    found: npt.NDArray[Any],
    drawn: npt.NDArray[Any] | None = None,
    *,
    limits: SpriteLimits | None = None,
) -> CaseSheets:
    """Make the sheets of one case, turned the way a radiologist looks at it, whatever the order of the file's axes.

    Nothing is resampled but slices with more than `limits.max_tile_px` pixels; an oblique scan is shown by its own
    slices, under the letters of the nearest axes.

    Args:
        image: The scan.
        found: Classes on its grid, 0 is background.
        drawn: Classes of a reference on its grid, if somebody drew one.
        limits: What bounds the bytes.

    Raises:
        GeometryError: If a label map has another shape than the scan.
    """
    for name, label_map in {"segmentation": found, "reference": drawn}.items():
        if label_map is not None and label_map.shape != image.shape:
            msg = f"{name} is {label_map.shape} voxels, the scan is {image.shape}; wanted both on the scan's own grid"
            raise GeometryError(msg)
    affine_mm = image.affine_mm
    scan, spacing_mm = turn_to_ras(image.voxels, affine_mm), ras_spacing_mm(affine_mm)
    label_map = turn_to_ras(found, affine_mm)
    reference = None if drawn is None else turn_to_ras(drawn, affine_mm)
    window = scan_window(scan)
    box = _shown_box(scan, label_map if reference is None else np.maximum(label_map, reference))
    wanted = find_cut(label_map, margin=(0, 0, 0)).centre  # without any structure the middle, where no body may be
    right, anterior, superior = (
        min(max(index, first), end - 1) for index, (first, end) in zip(wanted, box, strict=True)
    )
    centre: Triple = (right, anterior, superior)
    cut = Cut(centre=centre, window=(slice(*box[0]), slice(*box[1]), slice(*box[2])))
    small = thumbnail(
        take_plane(scan, Plane.AXIAL, cut),
        take_plane(label_map, Plane.AXIAL, cut),
        aspect=pixel_aspect(Plane.AXIAL, spacing_mm),
        window=window,
        side_px=THUMBNAIL_PX,
    )
    return CaseSheets(
        planes=tuple(
            cut_sheets(
                plane,
                scan,
                (label_map, reference),
                box=box,
                centre=centre,
                spacing_mm=spacing_mm,
                window=window,
                limits=limits or SpriteLimits(),
            )
            for plane in Plane
        ),
        box=box,
        shape=(scan.shape[0], scan.shape[1], scan.shape[2]),
        spacing_mm=spacing_mm,
        orientation=image.orientation,
        oblique_degrees=oblique_degrees(affine_mm),
        small=small,
    )


def oblique_degrees(affine_mm: npt.NDArray[np.float64]) -> float:
    """Largest angle between an axis of a scan and the axis of the body that it is nearest to."""
    directions = affine_mm[:3, :3] / np.linalg.norm(affine_mm[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.abs(directions).max(axis=0).clip(0.0, 1.0))).max())


def as_json(sheets: CaseSheets) -> dict[str, Any]:
    """Spell a case for the page's script; see `site.js` for what it does with it."""
    return {
        "box": sheets.box,
        "planes": {
            sheet.plane.value: {
                "fixed": sheet.plane.fixed_axis,
                "across": 1 if sheet.plane is Plane.SAGITTAL else 0,
                "up": 1 if sheet.plane is Plane.AXIAL else 2,
                "letters": sheet.plane.letters,
                "slices": sheet.slices,
                "total": sheets.shape[sheet.plane.fixed_axis],
                "start": sheet.start,
                "tile": sheet.tile_px,
                "pitch": sheet.pitch_px,
                "mm": [round(side, 3) for side in sheet.size_mm],
                "scan": data_address(sheet.scan, "jpeg"),
                "found": _addresses(sheet.found),
                "drawn": _addresses(sheet.drawn),
            }
            for sheet in sheets.planes
        },
    }


def data_address(content: bytes, kind: str) -> str:
    """A picture as an address that loads nothing."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _addresses(sheets: Mapping[int, bytes]) -> dict[str, str]:
    return {str(label): data_address(content, "png") for label, content in sheets.items()}


def _shown_box(scan: npt.NDArray[Any], label_map: npt.NDArray[Any]) -> Box:
    """The body with what was found in it: empty surroundings cost bytes and show nothing."""
    shown = foreground_mask(scan) | (label_map > 0)
    sides = []
    for axis in range(3):
        inside = np.flatnonzero(shown.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = int(inside[0]) - MARGIN_VOXELS, int(inside[-1]) + 1 + MARGIN_VOXELS
        sides.append((max(0, first), min(shown.shape[axis], last)))
    return sides[0], sides[1], sides[2]
