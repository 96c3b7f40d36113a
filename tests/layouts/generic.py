"""Plain folders, BIDS, data lists and nnU-Net folders with the same cases in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.layouts.anatomy import Anatomy, in_axis_order, save_planted

STRUCTURES = {1: "ventricle", 2: "tumour"}


def write_folders(root: Path, cases: Mapping[str, Anatomy]) -> Path:
    """`<case>/t1.nii.gz` and `<case>/seg.nii.gz`."""
    for case_id, anatomy in cases.items():
        save_planted(root / case_id / "t1.nii.gz", anatomy.image)
        save_planted(root / case_id / "seg.nii.gz", anatomy.label_map)
    return root


def write_bids(root: Path, cases: Mapping[str, Anatomy]) -> Path:
    """`sub-<case>/anat/..._T1w.nii.gz`, labels in `derivatives/manual`, stored in another order of axes."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}', encoding="utf-8")
    for case_id, anatomy in cases.items():
        name = f"sub-{case_id}"
        save_planted(root / name / "anat" / f"{name}_T1w.nii.gz", in_axis_order(anatomy.image, "LPS"))
        derived = root / "derivatives" / "manual" / name / "anat"
        save_planted(derived / f"{name}_space-orig_dseg.nii.gz", in_axis_order(anatomy.label_map, "LPS"))
    table = "index\tname\n" + "".join(f"{number}\t{name}\n" for number, name in STRUCTURES.items())
    (root / "derivatives" / "manual" / "dseg.tsv").write_text(table, encoding="utf-8")
    return root


def write_msd(root: Path, cases: Mapping[str, Anatomy]) -> Path:
    """A Decathlon task."""
    for case_id, anatomy in cases.items():
        save_planted(root / "imagesTr" / f"{case_id}.nii.gz", anatomy.image)
        save_planted(root / "labelsTr" / f"{case_id}.nii.gz", anatomy.label_map)
    training = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz", "fold": number % 2}
        for number, name in enumerate(sorted(cases))
    ]
    labels = {"0": "background"} | {str(number): name for number, name in STRUCTURES.items()}
    content = {"name": "x", "modality": {"0": "T1w"}, "labels": labels, "training": training, "test": []}
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def write_nnunet(root: Path, cases: Mapping[str, Anatomy]) -> Path:
    """A folder in the nnU-Net v2 layout."""
    for case_id, anatomy in cases.items():
        save_planted(root / "imagesTr" / f"{case_id}_0000.nii.gz", anatomy.image)
        save_planted(root / "labelsTr" / f"{case_id}.nii.gz", anatomy.label_map)
    labels = {"background": 0} | {name: number for number, name in STRUCTURES.items()}
    content = {"channel_names": {"0": "T1w"}, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root
