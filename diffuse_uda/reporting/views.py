"""What a figure needs of a case or of a synthetic pair, checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from diffuse_uda.data.volumes import Volume
from diffuse_uda.errors import GeometryError
from diffuse_uda.reporting.rows import headline_row


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CaseView:
    """One held-out scan with its reference and what every method made of it, all on the scan's own grid."""

    site_id: str
    case_id: str
    image: Volume
    reference: npt.NDArray[Any] | None
    """Classes of shape (i, j, k), 0 is background; None where nobody drew any."""
    predictions: Mapping[str, npt.NDArray[Any]]
    """Classes of shape (i, j, k) by method row, in reading order."""
    dice: Mapping[str, float | None] = field(default_factory=dict)
    """Mean Dice of this case by method row."""

    def __post_init__(self) -> None:
        """Refuse label maps of another shape: they would be drawn in the wrong place."""
        label_maps = {"reference": self.reference, **self.predictions}
        for name, label_map in label_maps.items():
            if label_map is not None and label_map.shape != self.image.shape:
                msg = (
                    f"site {self.site_id!r}, case {self.case_id!r}: {name} is {label_map.shape} voxels, "
                    f"the scan is {self.image.shape}; bring it back to the scan's own grid first"
                )
                raise GeometryError(msg)

    @property
    def headline_dice(self) -> float | None:
        """Dice of the method that the report is about; None without a score."""
        row = headline_row(self.predictions)
        return None if row is None else self.dice.get(row)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairView:
    """An image with its label map; `label_map` is None for a real scan that nobody labelled."""

    image: Volume
    label_map: npt.NDArray[Any] | None

    def __post_init__(self) -> None:
        """Refuse a label map of another shape."""
        if self.label_map is not None and self.label_map.shape != self.image.shape:
            msg = f"image is {self.image.shape} voxels, label map is {self.label_map.shape}"
            raise GeometryError(msg)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairsOfTarget:
    """Real scans of one target beside synthetic pairs in its look."""

    site_id: str
    real: tuple[PairView, ...]
    synthetic: tuple[PairView, ...]


def worst_first(cases: Sequence[CaseView]) -> list[CaseView]:
    """Sort cases by the Dice of the method the report is about, lowest first, unscored ones last."""
    return sorted(cases, key=lambda case: (case.headline_dice is None, case.headline_dice, case.site_id, case.case_id))
