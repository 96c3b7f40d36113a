"""Rules of a centre as a whole, and of who takes part."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Reaction, Rule

_MEMBERSHIP = "one source and at least one target, each with a name of its own"

DATASET = (
    Rule(
        slug="repeated-case-name",
        code="C01",
        reaction=Reaction.RUN,
        wanted="a name of its own for every case, over imagesTr and imagesTs, and one file for it",
        fix="rename them, or take the copy out: a case in both folders would be tested on what it trained",
    ),
    Rule(
        slug="case-in-two-parts",
        code="C01",
        reaction=Reaction.RUN,
        wanted="every case in one part",
        fix="choices made on development cases must not be tested on the same cases: keep one entry",
    ),
    Rule(
        slug="wrong-num-training",
        code="C03",
        reaction=Reaction.WARN,
        wanted="the number of scans in imagesTr",
        fix="the scans that are there are used; correct the number",
        correction="a dataset.json with the number counted anew",
    ),
    Rule(
        slug="path-traversal",
        code="C05",
        reaction=Reaction.RUN,
        wanted="names inside the centre's folder",
        fix="remove absolute paths and `..`; put the files into the folder",
    ),
    Rule(
        slug="image-without-label-map",
        code="C06",
        reaction=Reaction.CASE,
        wanted="a label map for every training scan of the source that is not declared to have none",
        fix="add it, name the scan under `unlabelled` in dataset.json, or take it out",
    ),
    Rule(
        slug="label-map-without-image",
        code="C06",
        reaction=Reaction.CASE,
        wanted="an image for every label map",
        fix="add the image, or take the label map out",
    ),
    Rule(
        slug="no-cases",
        code="C07",
        reaction=Reaction.RUN,
        wanted="at least one imagesTr/<case>_0000.nii.gz",
        fix="put the training scans there",
    ),
    Rule(
        slug="few-cases",
        code="C07",
        reaction=Reaction.WARN,
        wanted="two training scans or more",
        fix="expect a model of one patient; nothing about the spread can be said",
    ),
    Rule(
        slug="too-few-left",
        code="C07",
        reaction=Reaction.RUN,
        wanted="at least one training scan, and at least half of them, out of quarantine",
        fix="repair the scans above first: a folder of which more than half is broken went wrong as a whole",
    ),
    Rule(
        slug="output-in-data",
        code="C13",
        reaction=Reaction.RUN,
        wanted="a new or empty folder outside of the centre's folder",
        fix="choose another folder: nothing is ever written into or over a centre's data",
    ),
    Rule(
        slug="invalid-dataset-json",
        code="C40",
        reaction=Reaction.RUN,
        wanted="a dataset.json in the nnU-Net v2 format with channel_names, labels and numTraining",
        fix="repair it; the README of this project shows a minimal one",
    ),
    Rule(
        slug="unknown-evaluation-case",
        code="C41",
        reaction=Reaction.RUN,
        wanted="ids of scans in imagesTs",
        fix="correct the id, or add the scan",
    ),
    Rule(
        slug="unknown-unlabelled-case",
        code="C42",
        reaction=Reaction.RUN,
        wanted="ids of scans in imagesTr",
        fix="correct the id, or add the scan",
    ),
    Rule(slug="no-source", code="N06", reaction=Reaction.RUN, wanted=_MEMBERSHIP, fix="name the labelled centre"),
    Rule(slug="several-sources", code="N06", reaction=Reaction.RUN, wanted=_MEMBERSHIP, fix="keep one of them"),
    Rule(
        slug="no-targets",
        code="N06",
        reaction=Reaction.RUN,
        wanted=_MEMBERSHIP,
        fix="add a centre with unlabelled scans",
    ),
    Rule(
        slug="repeated-site-name",
        code="N05",
        reaction=Reaction.RUN,
        wanted=_MEMBERSHIP,
        fix="give every site a name of its own",
    ),
)
