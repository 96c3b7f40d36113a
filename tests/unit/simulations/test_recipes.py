"""The demo's configuration fits every cohort it is started on."""

from pathlib import Path

import nibabel as nib
import numpy as np

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.formats.nnunet import CaseFiles, CentreFolder
from simulations.recipes import DEMO, working_grid


def _source(folder: Path, shape: tuple[int, int, int], affine: np.ndarray) -> CentreFolder:
    path = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(shape, dtype=np.int16), affine), path)
    case = CaseFiles(case_id="scan", image=path, label_map=None)
    return CentreFolder(
        root=folder, site_id="source", train=(case,), test=(), label_names={}, evaluation={}, channel_name="T1w"
    )


def test_the_demo_is_a_valid_study() -> None:
    assert StudyConfig.from_flat(DEMO).method == "diffuse-uda"


def test_scans_of_the_patchs_size_keep_their_grid(tmp_path: Path) -> None:
    grid = working_grid(_source(tmp_path, (40, 48, 40), np.diag([4.0, 4.0, 4.0, 1.0])))
    assert grid == {"grid.spacing-mm": "[4.0, 4.0, 4.0]", "grid.patch-size": "[40, 48, 40]"}


def test_a_small_scan_is_not_interpolated(tmp_path: Path) -> None:
    grid = working_grid(_source(tmp_path, (32, 40, 32), np.diag([5.0, 5.0, 5.0, 1.0])))
    assert grid == {"grid.spacing-mm": "[5.0, 5.0, 5.0]", "grid.patch-size": "[32, 40, 32]"}


def test_a_large_scan_gets_a_coarser_grid_that_holds_it(tmp_path: Path) -> None:
    # 256 mm along i: 256 / 40 = 6.4, rounded up to 6.5 mm; 26 slices of 5 mm need 20 voxels, 24 in steps of eight.
    grid = working_grid(_source(tmp_path, (256, 256, 26), np.diag([1.0, 1.0, 5.0, 1.0])))
    assert grid == {"grid.spacing-mm": "[6.5, 6.5, 6.5]", "grid.patch-size": "[40, 40, 24]"}


def test_axes_are_anatomical_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    # Stored as (superior, right, anterior): 24 x 40 x 48 voxels of 4 mm.
    affine = np.array([[0, 4, 0, 0], [0, 0, 4, 0], [4, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    grid = working_grid(_source(tmp_path, (24, 40, 48), affine))
    assert grid["grid.patch-size"] == "[40, 48, 24]"
