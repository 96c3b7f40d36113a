"""One anatomy in every format gives the same voxels at the same place in the patient."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.data.formats.bids import BidsChoice, list_bids
from diffuse_uda.data.formats.contract import Listing
from diffuse_uda.data.formats.dicom import DicomChoice, list_dicom
from diffuse_uda.data.formats.folders import list_folders
from diffuse_uda.data.formats.msd import list_msd
from diffuse_uda.data.formats.nnunet_cases import list_nnunet
from diffuse_uda.errors import InputError
from tests.layouts.anatomy import BOXES, an_anatomy, assert_same_in_patient_space
from tests.layouts.dicom_segmentation import write_segmentation
from tests.layouts.dicom_series import SeriesTags, box_contours, write_series, write_structure_set
from tests.layouts.generic import STRUCTURES, write_bids, write_folders, write_msd, write_nnunet


def _dicom_with(kind: str) -> Callable[[Path], Listing]:
    def listed(root: Path) -> Listing:
        for number in range(2):
            anatomy = an_anatomy(number)
            tags = SeriesTags(study=f"1.2.{number}", series=f"1.2.{number}.1", patient=f"P^{number}", intercept=-1024)
            files = write_series(root / str(number), anatomy.image, tags)
            if kind == "seg":
                write_segmentation(root / str(number) / "s", files, anatomy.label_map, STRUCTURES)
            else:
                contours = {STRUCTURES[value]: box_contours(box) for value, box in BOXES.items()}
                write_structure_set(root / str(number) / "r", anatomy.image, contours, tags)
        return list_dicom(root, DicomChoice(structures=tuple(STRUCTURES.values())))

    return listed


def _written(write: Callable[..., Path], read: Callable[[Path], Listing]) -> Callable[[Path], Listing]:
    return lambda root: read(write(root, {f"case{number}": an_anatomy(number) for number in range(2)}))


READERS: dict[str, Callable[[Path], Listing]] = {
    "folders": _written(write_folders, lambda root: list_folders(root, "{case}/t1.nii.gz", "{case}/seg.nii.gz")),
    "bids": _written(write_bids, lambda root: list_bids(root, BidsChoice())),
    "msd": _written(write_msd, list_msd),
    "nnunet": _written(write_nnunet, list_nnunet),
    "dicom with DICOM-SEG": _dicom_with("seg"),
    "dicom with RTSTRUCT": _dicom_with("rtstruct"),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_gives_the_same_voxels_in_patient_space(name: str, tmp_path: Path) -> None:
    listing = READERS[name](tmp_path / "data")

    assert len(listing.cases) == 2
    for number, case in enumerate(listing.cases):
        anatomy = an_anatomy(number)
        image = case.image.load()
        assert_same_in_patient_space(image, anatomy.image)
        assert case.label_map is not None
        label_map = case.label_map.load(image)
        assert_same_in_patient_space(label_map, anatomy.label_map)
        np.testing.assert_allclose(label_map.affine_mm, image.affine_mm, atol=1e-4)
        assert image.voxels.dtype == np.int16
    if name != "folders":
        assert listing.label_names == STRUCTURES
        assert listing.channel_name in {"T1w", "CT"}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    readers: dict[str, Callable[[Path], Listing]] = {
        "folders": lambda root: list_folders(root, "{case}.nii.gz"),
        "bids": lambda root: list_bids(root, BidsChoice()),
        "msd": list_msd,
        "nnunet": list_nnunet,
    }

    def read_dicom(root: Path) -> Listing:
        return list_dicom(root, DicomChoice())

    read = readers.get(name, read_dicom)
    with pytest.raises(InputError):
        read(tmp_path / "nowhere")
