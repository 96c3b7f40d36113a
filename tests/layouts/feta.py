"""FeTA 2021: BIDS-like, labels beside the scans, two reconstruction methods."""

from pathlib import Path

from tests.layouts.anatomy import oblique_affine_mm, save_planted, scan_of, striped

SIZE = (4, 5, 4)
OF_EACH = 4


def write_feta(root: Path) -> Path:
    """`sub-001/anat/sub-001_rec-mial_T2w.nii.gz` and `..._dseg.nii.gz`; the second half is `irtk`."""
    for number in range(1, 2 * OF_EACH + 1):
        name = f"sub-{number:03d}_rec-{'mial' if number <= OF_EACH else 'irtk'}"
        folder = root / f"sub-{number:03d}" / "anat"
        label_map = striped(SIZE, list(range(1, 8)), oblique_affine_mm())
        save_planted(folder / f"{name}_T2w.nii.gz", scan_of(label_map, number))
        save_planted(folder / f"{name}_dseg.nii.gz", label_map)
    (root / "participants.tsv").write_text("participant_id\tPathology\tGestational age\n")
    (root / "dataset_description.json").write_text('{"Name": "FeTA", "BIDSVersion": "1.2.0"}')
    return root


def write_atlas(root: Path, num_volumes: int = 3) -> Path:
    """Atlas volumes with other numbers: 11 to 17 for tissues 1 to 7."""
    for number in range(num_volumes):
        label_map = striped(SIZE, list(range(11, 18)), oblique_affine_mm())
        save_planted(root / f"GA{number}_T2w.nii.gz", scan_of(label_map, 900 + number))
        save_planted(root / f"GA{number}_dseg.nii.gz", label_map)
    return root
