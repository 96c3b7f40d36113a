"""Bad input of every kind stops before round 1, on the command line, with words a user can act on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError, DiffuseUdaError, InputError
from simulations.centres import find_centres
from simulations.federation import Federation, run_federation

Break = Callable[[Path], object]


def _rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], *, shift_mm: float = 0.0) -> None:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += shift_mm
    changed = nib.Nifti1Image(change(np.asarray(image.dataobj).copy()), affine)
    nib.save(changed, path)


def _with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.astype(np.float32)
        changed[8, 8, 8] = value
        return changed

    return change


def _all_images(change: Break) -> Break:
    """Spoil every training scan of the T2w target: a single one would only be quarantined."""

    def spoil(root: Path) -> None:
        for path in sorted((root / "target-t2w" / "imagesTr").iterdir()):
            change(path)

    return spoil


def _all_labels(change: Break) -> Break:
    """Spoil every training label map of the source."""

    def spoil(root: Path) -> None:
        for path in sorted((root / "source-t1w" / "labelsTr").iterdir()):
            change(path)

    return spoil


BAD_INPUT: dict[str, tuple[Break, str]] = {
    "a missing folder": (lambda root: shutil.rmtree(root / "target-t2w"), "target-t2w"),
    "an empty folder": (lambda root: shutil.rmtree(root / "target-t2w" / "imagesTr"), "target-t2w"),
    "labels outside the map": (_all_labels(lambda path: _rewrite(path, _with_value(99))), "99"),
    "other shapes": (_all_labels(lambda path: _rewrite(path, lambda voxels: voxels[:-1])), "15"),
    "other affines": (_all_labels(lambda path: _rewrite(path, np.asarray, shift_mm=30.0)), "30"),
    "voxels that are no number": (_all_images(lambda path: _rewrite(path, _with_value(np.nan))), "case000"),
    "truncated files": (_all_images(lambda path: path.write_bytes(path.read_bytes()[:900])), "case000"),
    "a fourth dimension": (
        _all_images(lambda path: _rewrite(path, lambda voxels: np.stack([voxels, voxels], axis=-1))),
        "case000",
    ),
    "no labels at the source": (lambda root: shutil.rmtree(root / "source-t1w" / "labelsTr"), "source-t1w"),
}


def _start(cohort: Path, run_dir: Path, flat: dict[str, bool | int | float | str]) -> None:
    names = ["source-t1w", "target-flair", "target-t2w"]
    federation = Federation(
        config=StudyConfig.from_flat(flat),
        centre_folders=[cohort / name for name in names],
        run_dir=run_dir,
        command="test",
        with_references=False,
    )
    run_federation(federation, Console(quiet=True))


@pytest.mark.parametrize("kind", BAD_INPUT)
def test_bad_input_is_refused_before_anything_is_written(
    kind: str, tmp_path: Path, tiny_cohort: list[Path], tiny_config: dict[str, bool | int | float | str]
) -> None:
    cohort = Path(shutil.copytree(tiny_cohort[0].parent, tmp_path / "cohort"))
    spoil, words = BAD_INPUT[kind]
    spoil(cohort)
    with pytest.raises(InputError) as refusal:
        _start(cohort, tmp_path / "run", tiny_config)
    text = str(refusal.value)
    assert words in text
    assert all(part in text for part in ("centre", "case", "file:", "found:", "wanted:", "fix:"))
    assert not (tmp_path / "run").exists()


def test_zero_targets_are_refused(tmp_path: Path, tiny_cohort: list[Path]) -> None:
    shutil.copytree(tiny_cohort[0], tmp_path / "cohort" / tiny_cohort[0].name)
    folders = find_centres(tmp_path / "cohort")
    federation = Federation(config=StudyConfig(), centre_folders=folders, run_dir=tmp_path / "run", command="test")
    with pytest.raises(DiffuseUdaError, match="no target"):
        run_federation(federation, Console(quiet=True))


def test_an_unknown_configuration_key_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"'adapt.num-round' \(did you mean 'adapt.num-rounds'\?\)"):
        StudyConfig.from_flat({"adapt.num-round": 3})


def test_a_folder_that_no_run_wrote_is_never_replaced(
    tmp_path: Path, tiny_cohort: list[Path], tiny_config: dict[str, bool | int | float | str]
) -> None:
    precious = tmp_path / "run" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("three years")
    with pytest.raises(ConfigError, match="nobody's files are deleted"):
        _start(tiny_cohort[0].parent, tmp_path / "run", tiny_config)
    assert precious.read_text() == "three years"


def test_a_run_never_writes_into_the_data(
    tiny_cohort: list[Path], tiny_config: dict[str, bool | int | float | str]
) -> None:
    with pytest.raises(ConfigError, match="would write into the data"):
        _start(tiny_cohort[0].parent, tiny_cohort[0] / "run", tiny_config)
