"""Rules of intensities: what a scan's numbers must be to be learned from."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Reaction, Rule

_NO_NUMBER = "find the step that made them (a division, a registration); 0 is not always what was there"

INTENSITIES = (
    Rule(slug="nan-voxels", code="I01", reaction=Reaction.CASE, wanted="finite numbers", fix=_NO_NUMBER),
    Rule(slug="infinite-voxels", code="I02", reaction=Reaction.CASE, wanted="finite numbers", fix=_NO_NUMBER),
    Rule(
        slug="constant-image",
        code="I03",
        reaction=Reaction.CASE,
        wanted="a scan with contrast",
        fix="look at the scan; if it is a mask or an empty export, take the case out",
    ),
    Rule(
        slug="rgb-voxels",
        code="I04",
        reaction=Reaction.CASE,
        wanted="one number in every voxel",
        fix="export the scan itself, not a coloured overlay of it",
    ),
    Rule(
        slug="voxel-type",
        code="I04",
        reaction=Reaction.CASE,
        wanted="integers of 8 to 64 bits or floats of 32 or 64 bits",
        fix="convert the scan to int16 or float32",
    ),
    Rule(
        slug="scaling-not-finite",
        code="I07",
        reaction=Reaction.CASE,
        wanted="finite numbers (slope 0 or 1 for none)",
        fix="repair the header; the true intensities are unknown until then",
    ),
    Rule(
        slug="quantised-voxels",
        code="I09",
        reaction=Reaction.NOTE,
        wanted="nothing: numbers were stored in steps, and are read back as they are",
        fix="nothing to do",
    ),
    Rule(
        slug="clipped-intensities",
        code="I10",
        reaction=Reaction.WARN,
        wanted="fewer than one voxel in ten thousand at the end of the stored type",
        fix="export the scan again with a wider type, or check what fills its background",
        how="16-bit types only; 8-bit scans are saturated on purpose",
    ),
    Rule(
        slug="not-hounsfield",
        code="I11",
        reaction=Reaction.CASE,
        wanted="Hounsfield units: air near -1000, fat near -100, so some voxel below 0",
        fix="subtract the offset (usually 1024) or apply the DICOM rescale; if it is MRI, correct channel_names",
        how="only where channel_names says CT. Not decidable here: an undeclared scan, a wrong slope",
    ),
    Rule(
        slug="inverted-ct",
        code="I11",
        reaction=Reaction.CASE,
        wanted="air darker than the body",
        fix="export again with MONOCHROME1 resolved, or invert the scan",
        how="only where channel_names says CT: at least seven corners 500 or more above the middle of the scan",
    ),
    Rule(
        slug="bright-background",
        code="I11",
        reaction=Reaction.WARN,
        wanted="a background that is not the brightest part",
        fix="look at the scan: it may be inverted (MONOCHROME1)",
        how="at least seven corners in the upper fifth of the range; other than CT. Not decidable here: a scan cropped "
        "to the body",
    ),
    Rule(
        slug="modality-mismatch",
        code="I12",
        reaction=Reaction.CASE,
        wanted="the modality of channel_names",
        fix="take the scan out, or correct channel_names",
        how="only where channel_names says an MRI sequence: a hundredth of the voxels below -500, as only CT has. "
        "Not decidable here: which MRI sequence it is, an undeclared scan",
    ),
    Rule(
        slug="wrong-modality",
        code="I12",
        reaction=Reaction.RUN,
        wanted="at most one scan in ten of another modality than channel_names says",
        fix="correct channel_names, or the folder",
        how="counts `not-hounsfield` and `modality-mismatch`",
    ),
    Rule(
        slug="normalised-intensities",
        code="I13",
        reaction=Reaction.WARN,
        wanted="intensities as the scanner made them",
        fix="use the scans before normalisation; these are normalised once more",
        how="floats: all within 0 and 1, or mean near 0 and standard deviation near 1",
    ),
    Rule(
        slug="several-channels",
        code="I15",
        reaction=Reaction.RUN,
        wanted="one channel (one sequence) in every case",
        fix="keep the sequence to adapt in a folder of its own; several channels are not supported",
    ),
    Rule(
        slug="contrast-differs",
        code="I16",
        reaction=Reaction.WARN,
        wanted="structures in the same order of brightness as in the centre's other cases",
        fix="look at the scan: it may be another sequence (T1w, T2w)",
        how="label maps of a source only: rank correlation below 0 with the median case over at least 4 structures, at "
        "least 5 cases. Not decidable here: an unlabelled scan, a centre whose cases are all swapped",
    ),
    Rule(
        slug="burned-in-marks",
        code="I17",
        reaction=Reaction.WARN,
        wanted="a scan without writing in it",
        fix="look at the scan before anybody else does: it may show a name; export the original series",
        how="at least 20 columns of the largest value through all slices of one axis. Not decidable here: writing in "
        "single slices, or in grey",
    ),
    Rule(
        slug="repeated-image",
        code="I18",
        reaction=Reaction.CASE,
        wanted="a scan of its own in every case",
        fix="take the copy out: it would count twice, or be tested on what it trained",
    ),
)
