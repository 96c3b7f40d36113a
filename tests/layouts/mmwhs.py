"""MM-WHS 2017 as it lies on the disk after unpacking: 20 CT and 20 MR scans with label maps, test scans without."""

from pathlib import Path

from tests.layouts.anatomy import an_anatomy, oblique_affine_mm, save_planted, scan_of, striped

NUMBERS = [500, 600, 420, 550, 205, 820, 850]
SIZE = (4, 5, 4)


def write_mmwhs(root: Path) -> Path:
    """`ct_train/ct_train_1001_image.nii.gz` and so on; one label map has 421, as published."""
    for folder, modality, offset in (("ct_train", "ct", 0), ("mr_train", "mr", 100)):
        for number in range(1, 21):
            stem = root / folder / f"{modality}_train_{1000 + number}"
            values = [421 if value == 420 and (modality, number) == ("mr", 10) else value for value in NUMBERS]
            label_map = striped(SIZE, values, oblique_affine_mm())
            save_planted(
                stem.with_name(f"{stem.name}_image.nii.gz"), scan_of(label_map, offset + number, is_ct=modality == "ct")
            )
            save_planted(stem.with_name(f"{stem.name}_label.nii.gz"), label_map)
    save_planted(root / "ct_test" / "ct_test_2001_image.nii.gz", an_anatomy(500, shape=SIZE).image)
    return root
