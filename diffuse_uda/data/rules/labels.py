"""Rules of label maps: their values, and what they may leave out."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Reaction, Rule

LABELS = (
    Rule(
        slug="label-outside-map",
        code="L01",
        reaction=Reaction.CASE,
        wanted="only the labels of dataset.json",
        fix="add the structure to dataset.json, or correct the label map",
    ),
    Rule(
        slug="negative-label",
        code="L02",
        reaction=Reaction.CASE,
        wanted="labels from 0 on",
        fix="save the label map as unsigned integers; check for an overflow",
    ),
    Rule(
        slug="non-integer-labels",
        code="L03",
        reaction=Reaction.CASE,
        wanted="integers, at most 0.01 off",
        fix="save the label map with an integer type, and resample it without interpolating labels",
    ),
    Rule(
        slug="empty-label-map",
        code="L05",
        reaction=Reaction.WARN,
        wanted="at least one structure",
        fix="check whether the segmentation was saved",
    ),
    Rule(
        slug="no-foreground",
        code="L05",
        reaction=Reaction.CASE,
        wanted="at least one structure, because the plan demands it (--demand-foreground)",
        fix="check whether the segmentation was saved, or take the case out",
    ),
    Rule(
        slug="class-absent",
        code="L06",
        reaction=Reaction.RUN,
        wanted="every structure of dataset.json in at least one training case of the source",
        fix="take the structure out of dataset.json, or add a case that shows it",
    ),
    Rule(
        slug="class-absent-here",
        code="L07",
        reaction=Reaction.WARN,
        wanted="every structure of dataset.json in at least one scored case",
        fix="nothing, if no scan shows it: there is no score of that structure at this site",
    ),
    Rule(
        slug="label-values",
        code="L08",
        reaction=Reaction.RUN,
        wanted="0 for the background and another value from 1 on for each of 1 to 255 structures, gaps allowed",
        fix="correct `labels` in dataset.json",
    ),
    Rule(
        slug="ignore-label",
        code="L09",
        reaction=Reaction.RUN,
        wanted="label maps that name every voxel: the losses of this project know no voxel without an answer",
        fix="take the cases with unlabelled parts and the `ignore` entry out; as background those parts would be "
        "taught to be no structure",
    ),
    Rule(
        slug="partial-annotation",
        code="L09",
        reaction=Reaction.WARN,
        wanted="structures that end where those of the other cases do",
        fix="look whether all slices were annotated",
        how="label maps of a source: the labelled part ends abruptly along an axis inside of the scan (the last slice "
        "has over 60 % of the largest area), where the median case tapers (30 % at most); at least 5 cases. "
        "Not decidable here: a structure that is missing in parts of a slice",
    ),
    Rule(
        slug="structure-missing",
        code="L09",
        reaction=Reaction.WARN,
        wanted="the structures that all other cases have",
        fix="look whether the structure was forgotten",
        how="label maps of a source: all of at least 9 other cases have it",
    ),
    Rule(
        slug="label-map-is-an-image",
        code="L13",
        reaction=Reaction.CASE,
        wanted="a label map",
        fix="looks like an image: put the segmentation there instead of a copy of a scan",
    ),
    Rule(
        slug="specks-in-label-map",
        code="L14",
        reaction=Reaction.WARN,
        wanted="structures in one piece: at most two lone voxels or one-voxel holes for every hundred labelled voxels",
        fix="look at the label map; drawing or resampling has left specks",
        how="voxels without a face neighbour of the same label",
    ),
    Rule(
        slug="label-maps-differ",
        code="L15",
        reaction=Reaction.RUN,
        wanted="the labels of the source, with the same names and numbers",
        fix="make `labels` in dataset.json the same at all centres, and renumber label maps where they differ",
    ),
    Rule(
        slug="target-has-training-labels",
        code="L16",
        reaction=Reaction.WARN,
        wanted="none: a target is adapted to without labels",
        fix="they are ignored; keep them in oracle/labelsTr if a reference row should use them",
    ),
    Rule(
        slug="no-labels-at-source",
        code="L40",
        reaction=Reaction.RUN,
        wanted="labelsTr/<case>.nii.gz for some scans at least: the source is what all centres learn from",
        fix="add the label maps, or give this centre the role of a target",
    ),
)
