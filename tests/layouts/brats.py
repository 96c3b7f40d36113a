"""BraTS 2020's training archive: a folder a case, four sequences and a segmentation, one of them misnamed."""

from pathlib import Path

from tests.layouts.anatomy import oblique_affine_mm, save_planted, scan_of, striped

SIZE = (4, 5, 4)
NUM_CASES = 10


def write_brats(root: Path) -> Path:
    """`MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_flair.nii` and so on."""
    for number in range(1, NUM_CASES + 1):
        name = f"BraTS20_Training_{number:03d}"
        folder = root / "MICCAI_BraTS2020_TrainingData" / name
        label_map = striped(SIZE, [1, 2, 4], oblique_affine_mm())
        for index, sequence in enumerate(("flair", "t1", "t1ce", "t2")):
            save_planted(folder / f"{name}_{sequence}.nii", scan_of(label_map, number * 10 + index))
        stem = "W39_1998.09.19_Segm" if number == NUM_CASES else f"{name}_seg"
        save_planted(folder / f"{stem}.nii", label_map)
    (root / "MICCAI_BraTS2020_TrainingData" / "name_mapping.csv").write_text("Grade,BraTS_2020_subject_ID\n")
    return root
