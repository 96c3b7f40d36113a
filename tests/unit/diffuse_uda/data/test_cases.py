"""What training sees stays traceable to the scan, voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.cases import PreparedCase, load_prepared, prepare_case, restore_to_scan, save_prepared
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.errors import GeometryError

WriteVolume = Callable[..., Path]
FOUR_MM = (4.0, 4.0, 4.0)
LPS = np.array([[-4.0, 0, 0, 80], [0, -4, 0, 60], [0, 0, 4, -20], [0, 0, 0, 1]])


@pytest.fixture
def write_case(tmp_path: Path, write_volume: WriteVolume) -> Callable[..., CaseFiles]:
    """A 30 x 12 x 12 scan: erased background, a body at i = 10 to 14, half of it class 1, half class 2."""

    def write(affine_mm: Any = None, *, labelled: bool = True) -> CaseFiles:
        image, labels = _body()
        return CaseFiles(
            case_id="case0",
            image=write_volume(tmp_path / "image.nii.gz", image, affine_mm),
            label_map=write_volume(tmp_path / "labels.nii.gz", labels, affine_mm) if labelled else None,
        )

    return write


def _body() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    image = np.zeros((30, 12, 12), dtype=np.int16)
    labels = np.zeros((30, 12, 12), dtype=np.uint8)
    image[10:15, 2:10, 2:10] = np.random.default_rng(0).integers(500, 1500, (5, 8, 8))
    labels[10:15, 2:6, 2:10], labels[10:15, 6:10, 2:10] = 1, 2
    return image, labels


def _one_hot(case: PreparedCase) -> torch.Tensor:
    assert case.label_map is not None
    return torch.nn.functional.one_hot(case.label_map[0].long(), 3).movedim(-1, 0).float()


def test_scan_of_patch_size_stays_where_it_is(write_case: Callable[..., CaseFiles]) -> None:
    case = prepare_case(write_case(), FOUR_MM, (30, 12, 12))
    assert case.image.shape == (1, 30, 12, 12)
    assert case.image.dtype == torch.float32
    assert case.label_map is not None
    assert case.label_map.dtype == torch.uint8
    np.testing.assert_array_equal(case.label_map[0], _body()[1])
    np.testing.assert_array_equal(case.affine_mm, np.diag([4, 4, 4, 1]))
    assert case.image.min() == 0
    assert case.image.max() <= 1
    assert (case.scan_shape, case.case_id) == ((30, 12, 12), "case0")


def test_longer_axis_is_cut_to_the_body_with_a_margin(write_case: Callable[..., CaseFiles]) -> None:
    # Body 10 to 14 along i, margin 4: voxels 6 to 18, 13 of them; the other axes are not longer than a patch.
    case = prepare_case(write_case(), FOUR_MM, (8, 12, 12))
    assert case.image.shape == (1, 13, 12, 12)
    assert case.affine_mm[:3, 3].tolist() == [24.0, 0.0, 0.0]


def test_cut_never_goes_below_a_patch(write_case: Callable[..., CaseFiles]) -> None:
    # 13 voxels around the body are less than 20: three more before it, four after it.
    case = prepare_case(write_case(), FOUR_MM, (20, 12, 12))
    assert case.image.shape == (1, 20, 12, 12)
    assert case.affine_mm[0, 3] == 4.0 * 3


def test_cut_stays_inside_the_scan(tmp_path: Path, write_volume: WriteVolume) -> None:
    voxels = np.zeros((30, 4, 4), dtype=np.int16)
    voxels[27:, 1:3, 1:3] = np.arange(12).reshape(3, 2, 2) + 100
    files = CaseFiles(case_id="a", image=write_volume(tmp_path / "a.nii.gz", voxels), label_map=None)
    case = prepare_case(files, FOUR_MM, (20, 4, 4))
    assert case.image.shape == (1, 20, 4, 4)
    assert case.affine_mm[0, 3] == 4.0 * 10
    assert case.image[0, 17:].any()


def test_shorter_axes_are_padded_on_both_sides_with_zeros(write_case: Callable[..., CaseFiles]) -> None:
    # Two voxels more on each side along j, one before and two after along k.
    case = prepare_case(write_case(), FOUR_MM, (30, 16, 15))
    assert case.image.shape == (1, 30, 16, 15)
    assert case.affine_mm[:3, 3].tolist() == [0.0, -8.0, -4.0]
    assert case.label_map is not None
    np.testing.assert_array_equal(case.label_map[0, :, 2:14, 1:13], _body()[1])
    assert not case.image[0, :, :2].any()
    assert not case.image[0, :, :, 13:].any()


def test_cut_does_not_change_intensities(write_case: Callable[..., CaseFiles]) -> None:
    whole = prepare_case(write_case(), FOUR_MM, (30, 12, 12))
    cut = prepare_case(write_case(), FOUR_MM, (8, 12, 12))
    torch.testing.assert_close(cut.image[0], whole.image[0, 6:19], atol=0, rtol=0)


@pytest.mark.parametrize("patch_size", [(30, 12, 12), (8, 12, 12), (33, 15, 14)])
@pytest.mark.parametrize("affine_mm", [None, LPS])
def test_segmentation_comes_back_to_the_scan_exactly(
    write_case: Callable[..., CaseFiles], patch_size: tuple[int, int, int], affine_mm: Any
) -> None:
    case = prepare_case(write_case(affine_mm), FOUR_MM, patch_size)
    restored = restore_to_scan(_one_hot(case), case)
    assert restored.voxels.dtype == np.uint8
    np.testing.assert_array_equal(restored.voxels, _body()[1])
    np.testing.assert_array_equal(restored.affine_mm, case.scan_affine_mm)


def test_segmentation_comes_back_from_another_spacing(write_case: Callable[..., CaseFiles]) -> None:
    case = prepare_case(write_case(LPS), (3.0, 3.0, 3.0), (20, 20, 20))
    restored = restore_to_scan(_one_hot(case), case).voxels
    assert restored.shape == (30, 12, 12)
    assert (restored == _body()[1]).mean() > 0.995


def test_unlabelled_case_has_no_label_map(write_case: Callable[..., CaseFiles]) -> None:
    assert prepare_case(write_case(labelled=False), FOUR_MM, (30, 12, 12)).label_map is None


def test_label_map_elsewhere_is_refused(
    tmp_path: Path, write_case: Callable[..., CaseFiles], write_volume: WriteVolume
) -> None:
    files = write_case()
    write_volume(tmp_path / "labels.nii.gz", _body()[1], LPS)
    with pytest.raises(GeometryError, match="mm apart"):
        prepare_case(files, FOUR_MM, (30, 12, 12))


@pytest.mark.parametrize("value", [-1, 256])
def test_label_that_no_byte_holds_is_refused(
    tmp_path: Path, write_case: Callable[..., CaseFiles], write_volume: WriteVolume, value: int
) -> None:
    files = write_case()
    labels = _body()[1].astype(np.int16)
    labels[0, 0, 0] = value
    write_volume(tmp_path / "labels.nii.gz", labels)
    with pytest.raises(BrokenRuleError, match=f"labels from .*{value}"):
        prepare_case(files, FOUR_MM, (30, 12, 12))


def test_probabilities_of_another_size_are_refused(write_case: Callable[..., CaseFiles]) -> None:
    case = prepare_case(write_case(), FOUR_MM, (30, 12, 12))
    with pytest.raises(ValueError, match=r"wanted \(klass, 30, 12, 12\)"):
        restore_to_scan(torch.zeros(3, 29, 12, 12), case)


def test_cache_gives_back_what_was_saved_in_its_order(tmp_path: Path, write_case: Callable[..., CaseFiles]) -> None:
    cases = [
        prepare_case(write_case(LPS), FOUR_MM, (30, 16, 15)),
        prepare_case(write_case(labelled=False), FOUR_MM, (8, 12, 12)),
    ]
    path = tmp_path / "cache.safetensors"
    save_prepared(path, cases)
    for saved, loaded in zip(cases, load_prepared(path), strict=True):
        torch.testing.assert_close(loaded.image, saved.image, atol=0, rtol=0)
        torch.testing.assert_close(loaded.label_map, saved.label_map, atol=0, rtol=0)
        np.testing.assert_array_equal(loaded.affine_mm, saved.affine_mm)
        np.testing.assert_array_equal(loaded.scan_affine_mm, saved.scan_affine_mm)
        assert (loaded.scan_shape, loaded.case_id) == (saved.scan_shape, saved.case_id)


def test_cache_is_private(tmp_path: Path, write_case: Callable[..., CaseFiles]) -> None:
    save_prepared(tmp_path / "cache", [prepare_case(write_case(), FOUR_MM, (30, 12, 12))])
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [None, b"", b"not safetensors" * 10])
def test_missing_or_damaged_cache_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cache"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BrokenRuleError, match="made again from the scans"):
        load_prepared(path)
