"""CHAOS 2019's training archive: DICOM slices and PNG masks; a test case without masks."""

from pathlib import Path

import numpy as np
from skimage.io import imsave

from tests.layouts.anatomy import oblique_affine_mm, scan_of, striped
from tests.layouts.dicom_series import SeriesTags, write_series

SIZE = (5, 6, 4)
MR_NUMBERS = (1, 2, 3, 5, 8, 10, 13, 15)
CT_NUMBERS = (1, 2, 5, 6, 8)
GREYS = [252, 189, 126, 63]
"""Spleen, left kidney, right kidney and liver, from left to right."""


def write_chaos(root: Path) -> Path:
    """`Train_Sets/MR/1/T2SPIR/DICOM_anon/IMG-0002-00001.dcm`, `Ground/IMG-0002-00001.png`, `Train_Sets/CT/1/...`."""
    for number in MR_NUMBERS:
        case = root / "Train_Sets" / "MR" / str(number)
        # In the archive the two phases take turns, and the masks bear the names of one of them.
        _write(case / "T1DUAL" / "DICOM_anon" / "InPhase", "IMG-0004-{:05d}", number, 2, case / "T1DUAL" / "Ground")
        _write(case / "T1DUAL" / "DICOM_anon" / "OutPhase", "IMG-0004-{:05d}", 100 + number, 1)
        _write(case / "T2SPIR" / "DICOM_anon", "IMG-0002-{:05d}", 200 + number, 0, case / "T2SPIR" / "Ground")
    for number in CT_NUMBERS:
        case = root / "Train_Sets" / "CT" / str(number)
        _write(case / "DICOM_anon", "i{:04d},0000b", 300 + number, 0, case / "Ground", is_ct=True)
    _write(root / "Test_Sets" / "MR" / "4" / "T2SPIR" / "DICOM_anon", "IMG-0002-{:05d}", 400, 0)
    return root


def _write(folder: Path, name: str, seed: int, first: int, ground: Path | None = None, *, is_ct: bool = False) -> None:
    step = 1 if first == 0 else 2
    stems = [name.format(first + step * k) for k in range(SIZE[2])]
    uid = f"1.2.840.{seed}"
    tags = SeriesTags(modality="CT" if is_ct else "MR", study=uid, series=uid + ".1", frame_of_reference=uid + ".2")
    label_map = striped(SIZE, [255] if is_ct else GREYS, oblique_affine_mm())
    write_series(folder, scan_of(label_map, seed, is_ct=is_ct), tags, names=lambda k: stems[k] + ".dcm")
    if ground is None:
        return
    ground.mkdir(parents=True)
    masks = label_map.voxels.astype(np.uint8)
    for k, stem in enumerate(stems):
        path = ground / (f"liver_GT_{k:03d}.png" if is_ct else f"{stem}.png")
        imsave(path, masks[:, :, k].T, check_contrast=False)
