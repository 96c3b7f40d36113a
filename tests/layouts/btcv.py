"""BTCV's abdominal archive: scans and label maps in two folders, test scans without."""

from pathlib import Path

from tests.layouts.anatomy import an_anatomy, oblique_affine_mm, save_planted, striped

SIZE = (4, 5, 4)
NUMBERS = ("0001", "0002", "0003", "0021", "0022", "0023", "0024", "0025", "0026", "0040")


def write_btcv(root: Path) -> Path:
    """`RawData/Training/img/img0001.nii.gz`, `RawData/Training/label/label0001.nii.gz`, `RawData/Testing/img`."""
    for number in NUMBERS:
        training = root / "RawData" / "Training"
        save_planted(training / "img" / f"img{number}.nii.gz", an_anatomy(int(number), shape=SIZE).image)
        label_map = striped(SIZE, list(range(1, 14)), oblique_affine_mm())
        save_planted(training / "label" / f"label{number}.nii.gz", label_map)
    save_planted(root / "RawData" / "Testing" / "img" / "img0061.nii.gz", an_anatomy(61, shape=SIZE).image)
    return root
