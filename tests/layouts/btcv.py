"""BTCV's abdominal archive: scans and label maps in two folders, test scans without."""

from pathlib import Path

from tests.layouts.anatomy import an_anatomy, oblique_affine_mm, save_planted, scan_of, striped

SIZE = (4, 5, 4)
LEFT_TO_RIGHT = [1, 3, 13, 11, 7, 8, 5, 10, 9, 4, 12, 2, 6]
"""Numbers of the organs, from the spleen to the liver."""
NUMBERS = ("0001", "0002", "0003", "0021", "0022", "0023", "0024", "0025", "0026", "0040")


def write_btcv(root: Path) -> Path:
    """`RawData/Training/img/img0001.nii.gz`, `RawData/Training/label/label0001.nii.gz`, `RawData/Testing/img`."""
    for number in NUMBERS:
        training = root / "RawData" / "Training"
        label_map = striped(SIZE, LEFT_TO_RIGHT, oblique_affine_mm())
        save_planted(training / "img" / f"img{number}.nii.gz", scan_of(label_map, int(number), is_ct=True))
        save_planted(training / "label" / f"label{number}.nii.gz", label_map)
    save_planted(root / "RawData" / "Testing" / "img" / "img0061.nii.gz", an_anatomy(61, shape=SIZE).image)
    return root
