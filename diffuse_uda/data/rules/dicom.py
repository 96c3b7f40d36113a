"""Rules of DICOM series, structure sets and segmentations, and of the layouts that `prepare` reads."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Reaction, Rule

_EXPORT_AGAIN = "export the series again from its source"
_NAME_SERIES = "name the series that is meant (--description, --series, --modality)"
_REDRAW = "correct it in the tool that drew it"


def _case(slug: str, code: str, wanted: str, fix: str) -> Rule:
    return Rule(slug=slug, code=code, reaction=Reaction.CASE, wanted=wanted, fix=fix)


def _run(slug: str, code: str, wanted: str, fix: str) -> Rule:
    return Rule(slug=slug, code=code, reaction=Reaction.RUN, wanted=wanted, fix=fix)


DICOM: tuple[Rule, ...] = (
    _case("dicom-unreadable", "F05", "a whole DICOM file", "export it again; compare checksums after copying"),
    _case("dicom-pixels", "F20", "pixels that can be decoded", "export the series uncompressed"),
    _case("dicom-colours", "I04", "one number in every pixel", "name the series of the scan, not of an overlay"),
    _case("dicom-no-geometry", "G01", "position, orientation and pixel spacing of every plane", _NAME_SERIES),
    _case("dicom-bad-orientation", "G03", "two unit vectors at a right angle", _EXPORT_AGAIN),
    _case("dicom-gantry-tilt", "G03", "planes straight above one another", "correct the tilt where the scan was made"),
    _case("dicom-missing-slice", "G20", "every slice", "export the series again; check that the transfer was complete"),
    _case("dicom-duplicate-slice", "G20", "one image at every position", "export one phase, echo or repetition alone"),
    _case("dicom-uneven-gaps", "G20", "gaps within a tenth of one another", "export an evenly spaced reconstruction"),
    _case("dicom-single-slice", "G20", "at least two planes", _NAME_SERIES),
    _case("dicom-mixed-orientations", "G20", "parallel planes", _NAME_SERIES),
    _case("dicom-mixed-sizes", "G20", "planes of one size", _NAME_SERIES),
    _case("dicom-mixed-spacings", "G20", "one pixel spacing", _NAME_SERIES),
    _case("dicom-other-frame-of-reference", "L12", "labels in the scan's patient space", "resample them into it"),
    _case("dicom-other-grid", "L12", "planes that are slices of the scan", "resample the labels onto the scan's grid"),
    _case("dicom-fractional-segmentation", "L12", "a BINARY or LABELMAP segmentation", "export it as binary"),
    _case("dicom-annotation", "L12", "every attribute that its kind must have", _REDRAW),
    _case("dicom-overlapping-segments", "L12", "one structure for every voxel", "name fewer structures (--structure)"),
    _case("dicom-open-contour", "L11", "CLOSED_PLANAR with three points or more", _REDRAW),
    _case("dicom-contour-crosses-itself", "L11", "contours with an inside and an outside", _REDRAW),
    _case("dicom-contour-off-slice", "L11", "contours on the scan's slices", "contour on this series"),
    _case("no-dicom-series", "C07", "the folder of a DICOM series", "name the folder that holds the series"),
    _case("dicom-image-kind", "F20", "single-frame images, which a segmentation can refer to", "export the originals"),
    _run("dicom-several-series", "C01", "one series of every study", _NAME_SERIES),
    _run("dicom-several-annotations", "C01", "one segmentation for a series", "say --annotations or --structure"),
    _run("dicom-structure", "L15", "structures by the names that they have", "say --structure NAME, once a class"),
)
LAYOUTS: tuple[Rule, ...] = (
    _run("bids-ambiguous", "C15", "one file for every session of a subject", "say --entity or --label-entity"),
    _run("bids-derivative", "C15", "segmentations in the derivative that is named", "say --derivative NAME"),
    _run("bids-lookup-table", "C15", "a table of `index` and `name`, one name for every number", "repair the table"),
    _run("invalid-datalist", "C15", "a data list of MSD or MONAI", "name its file or folder"),
    _run("not-as-published", "C15", "the data set as published", "name the folder of the unpacked archives"),
    _case("png-masks", "C15", "one mask of its size for every slice", "copy the case again from the archive"),
)
