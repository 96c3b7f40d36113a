"""Rules of geometry: where the voxels are in the patient, and whether image and label map agree about it."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Reaction, Rule

_RESAVE = "export the scan again from its source, or rewrite it with a tool that keeps its geometry"
_ONTO_SCAN = "resample the label map onto the scan's grid, in the tool that drew it"

GEOMETRY = (
    Rule(
        slug="no-affine",
        code="G01",
        reaction=Reaction.CASE,
        wanted="an affine that says where the voxels are in the patient",
        fix="convert again from DICOM; a guessed spacing would distort every structure",
        correction="with --assume-spacing I,J,K: that spacing in mm, axes towards right, anterior, superior",
    ),
    Rule(
        slug="sform-qform-disagree",
        code="G02",
        reaction=Reaction.CASE,
        wanted="one place for every voxel, to a tenth of a voxel: readers differ in which of the two they believe",
        fix="keep the scanner's transform in both, or set the code of the wrong one to 0",
    ),
    Rule(
        slug="sheared-affine",
        code="G03",
        reaction=Reaction.CASE,
        wanted="voxel axes at right angles",
        fix="resample the scan onto a rectangular grid first",
        correction="scan and label map on the nearest rectangular grid of the same spacing",
    ),
    Rule(
        slug="singular-affine",
        code="G04",
        reaction=Reaction.CASE,
        wanted="three independent voxel axes",
        fix=_RESAVE,
    ),
    Rule(slug="bad-pixdim", code="G05", reaction=Reaction.CASE, wanted="three positive spacings in mm", fix=_RESAVE),
    Rule(
        slug="bad-affine",
        code="G06",
        reaction=Reaction.CASE,
        wanted="16 finite numbers, a unit quaternion",
        fix=_RESAVE,
    ),
    Rule(
        slug="negative-pixdim",
        code="G07",
        reaction=Reaction.WARN,
        wanted="positive spacings: directions belong into the affine",
        fix="its absolute value is used, as all common readers do; correct the header",
        correction="a header made anew from the affine",
    ),
    Rule(
        slug="mixed-orientations",
        code="G09",
        reaction=Reaction.NOTE,
        wanted="nothing: every scan is turned to right-anterior-superior before training",
        fix="nothing to do",
    ),
    Rule(
        slug="orientation-differs",
        code="G10",
        reaction=Reaction.CASE,
        wanted="image and label map with axes towards the same sides",
        fix=_ONTO_SCAN,
    ),
    Rule(
        slug="place-differs",
        code="G11",
        reaction=Reaction.CASE,
        wanted="the same voxel in the same place, to 0.01 mm",
        fix=_ONTO_SCAN,
    ),
    Rule(
        slug="shape-differs",
        code="G13",
        reaction=Reaction.CASE,
        wanted="image and label map of the same voxels",
        fix=_ONTO_SCAN,
    ),
    Rule(
        slug="not-3d",
        code="G14",
        reaction=Reaction.CASE,
        wanted="one three-dimensional scan (i, j, k)",
        fix="save the one volume you mean as its own file",
        correction="with --volume K: that volume of a series, counted from 0",
    ),
    Rule(
        slug="vector-voxels",
        code="G16",
        reaction=Reaction.CASE,
        wanted="one number in every voxel",
        fix="this is a field of vectors (a deformation, a colour map): put the scan itself there",
    ),
    Rule(
        slug="anisotropic-voxels",
        code="G18",
        reaction=Reaction.WARN,
        wanted="edges within a factor of ten",
        fix="expect blurred results across the slices",
    ),
    Rule(
        slug="too-few-slices",
        code="G19",
        reaction=Reaction.CASE,
        wanted="at least 3 voxels along every axis",
        fix="this is a slice and no scan: export the whole series (a scan smaller than a patch is padded)",
    ),
    Rule(
        slug="left-right-swapped",
        code="G21",
        reaction=Reaction.WARN,
        wanted="the patient's left on the left",
        fix="look at the scan beside its DICOM original; flipped voxels and a flipped header look alike here",
        how="from label maps: structures named left and right (spleen and liver too) whose centres are on the wrong "
        "sides; without labels: a scan that is more like the centre's other scans when mirrored, where those are not "
        "symmetric themselves (at least 5 scans). Not decidable here: an unlabelled symmetric body, or a centre that "
        "swaps all its scans",
    ),
    Rule(
        slug="turned-scan",
        code="G22",
        reaction=Reaction.WARN,
        wanted="a body that lies as in the centre's other scans",
        fix="look at the scan: its axes were exchanged or reversed without the affine",
        how="6 x 6 x 6 block means against the centre's median scan in all 48 axis orders (at least 5 scans): another "
        "order fits by 0.15 better in correlation, and by 0.8 at least. Not decidable here: a centre whose scans are "
        "all turned alike",
    ),
    Rule(
        slug="empty-border",
        code="G23",
        reaction=Reaction.WARN,
        wanted="a body that fills a tenth of its box at least",
        fix="crop the scan, or look whether the body was lost",
        how="box around everything brighter than a tenth of the range",
    ),
    Rule(
        slug="body-cut-off",
        code="G23",
        reaction=Reaction.WARN,
        wanted="a body that ends inside of the scan where it does in the centre's other scans",
        fix="look at the scan: the field of view may have missed a part",
        how="share of a face of the scan that is body, over 30 % where the median of the centre's scans is below 5 % "
        "(at least 5 scans). Not decidable here: a centre that cuts all its scans",
    ),
    Rule(
        slug="not-millimetres",
        code="G40",
        reaction=Reaction.CASE,
        wanted="lengths in millimetres",
        fix="rewrite the affine in millimetres and set the unit accordingly",
    ),
)
