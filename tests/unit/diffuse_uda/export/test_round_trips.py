"""A scan, its segmentation, a file, another reader: the same voxels in the patient, however the axes run."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import PydicomReader
from monai.transforms import LoadImage

from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.export.dicom_seg import Algorithm
from diffuse_uda.export.forms import Form
from diffuse_uda.export.segmentations import write_segmentation
from diffuse_uda.training.prediction import LoadedSegmenter
from tests.unit.diffuse_uda.export.dicom_files import write_series
from tests.unit.diffuse_uda.export.placed_scans import ORDERS, Order, Place, places, rotation, scan

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")  # of MONAI without that decoder
STRAIGHT, OBLIQUE = (0.0, 0.0, 0.0), (12.0, -8.0, 17.0)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def written(bright: LoadedSegmenter, source: Path, folder: Path, form: Form) -> Path:
    folder.mkdir(exist_ok=True)
    return write_segmentation(
        bright,
        source,
        folder,
        form=form,
        algorithm=Algorithm(name="test", weights_sha256="ab" * 32),
        now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        secret=b"0123456789abcdef",
    )


def by_simpleitk(file: Path) -> dict[Place, int]:
    image = SimpleITK.ReadImage(str(file))
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return places(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), LPS_TO_RAS @ affine)


def by_nibabel(file: Path) -> dict[Place, int]:
    image = nib.load(file)
    return places(np.asarray(image.dataobj), image.affine)


def by_monai(file: Path) -> dict[Place, int]:
    image = LoadImage(image_only=True)(str(file))
    return places(image.numpy().astype(int), image.affine.numpy())


def seg_by_monai(file: Path) -> dict[Place, int]:
    image = LoadImage(reader=PydicomReader(), image_only=True)(str(file))
    one_hot = image.numpy()  # one channel a segment, last
    return places((one_hot.argmax(-1) + 1) * one_hot.any(-1), image.affine.numpy())


def by_highdicom(file: Path) -> dict[Place, int]:
    volume = hd.seg.segread(file).get_volume(combine_segments=True)
    return places(volume.array, LPS_TO_RAS @ volume.affine)


def meant(volume: Volume) -> dict[Place, int]:
    return places((volume.voxels >= 235).astype(int) + (volume.voxels >= 300), volume.affine_mm)


@pytest.mark.parametrize("degrees", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_a_segmentation_as_nifti_lies_at_the_same_place_for_every_reader_and_all_48_orders(
    bright: LoadedSegmenter, tmp_path: Path, degrees: tuple[float, float, float]
) -> None:
    ever_the_same = meant(scan(ORDERS[0], degrees))
    assert sorted(ever_the_same.values()) == [1, 1, 1, 1, 2, 2]
    for number, order in enumerate(ORDERS):
        source = tmp_path / f"{number}.nii"
        volume = scan(order, degrees)
        save_volume(source, volume, dtype="int16")
        file = written(bright, source, tmp_path / "out", Form.NIFTI)
        for read in (by_nibabel, by_simpleitk, by_monai):
            assert read(file) == ever_the_same, (order, read.__name__)
        assert nib.load(file).shape == volume.shape


@pytest.mark.slow
def test_a_segmentation_as_dicom_seg_lies_there_too_and_so_does_the_series_as_nifti(
    bright: LoadedSegmenter, tmp_path: Path
) -> None:
    for number, order in enumerate(ORDERS):
        degrees = STRAIGHT if number % 3 == 0 else OBLIQUE
        ever_the_same = meant(scan(ORDERS[0], degrees))
        series = write_series(tmp_path / f"series-{number}", scan(order, degrees))
        file = written(bright, series, tmp_path / f"out-{number}", Form.DICOM_SEG)
        assert by_highdicom(file) == ever_the_same, order
        if number % 5 == 0:  # these take as long as all the rest
            assert seg_by_monai(file) == ever_the_same, order
            as_nifti = written(bright, series, tmp_path / f"out-{number}", Form.NIFTI)
            assert by_simpleitk(as_nifti) == ever_the_same, order


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    st.tuples(*[st.floats(-180, 180) for _ in range(3)]),
    st.sampled_from(ORDERS),
)
def test_whatever_the_rotation_the_label_map_of_a_scan_lies_where_the_scan_is(
    bright: LoadedSegmenter, tmp_path: Path, degrees: tuple[float, float, float], order: Order
) -> None:
    volume = scan(order, degrees)
    assert np.allclose(rotation(degrees) @ rotation(degrees).T, np.eye(3))
    # Working axes follow the nearest ones of the patient, so their spacing follows the rotation.
    grid = bright.config.grid.model_copy(update={"spacing_mm": _ras_spacing_mm(volume)})
    segmenter = LoadedSegmenter(
        model=bright.model, config=bright.config.model_copy(update={"grid": grid}), label_names=bright.label_names
    )
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    source = folder / "scan.nii"
    save_volume(source, volume, dtype="int16")
    nifti = by_simpleitk(written(segmenter, source, folder / "out", Form.NIFTI))
    series = write_series(folder / "series", volume)
    seg = by_highdicom(written(segmenter, series, folder / "out", Form.DICOM_SEG))
    for found in (nifti, seg):
        _require_near(found, meant(volume))


def _ras_spacing_mm(volume: Volume) -> tuple[float, float, float]:
    axes = nib.orientations.io_orientation(volume.affine_mm)[:, 0]
    by_axis = {int(axis): spacing for axis, spacing in zip(axes, volume.spacing_mm, strict=True)}
    return by_axis[0], by_axis[1], by_axis[2]


def _require_near(found: dict[Place, int], wanted: dict[Place, int]) -> None:
    """The same voxels; headers hold single precision, so places are compared to a twentieth of a millimetre."""
    assert len(found) == len(wanted)
    for place, klass in wanted.items():
        nearest = min(found, key=lambda other: float(np.linalg.norm(np.subtract(other, place))))
        assert np.linalg.norm(np.subtract(nearest, place)) < 0.05
        assert found[nearest] == klass
