from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.data.volumes import Volume, load_volume
from diffuse_uda.errors import ConfigError
from simulations.phantom import cohort
from simulations.phantom.anatomy import LABELS
from simulations.phantom.centres import SOURCE_T1W, TARGET_FLAIR, TARGET_T2W, CentreRecipe
from simulations.phantom.cohort import MARKER_NAME, cohort_digest, write_cohort

SHAPE, SPACING_MM = (16, 20, 16), (10.0, 10.0, 10.0)
SOURCE = replace(SOURCE_T1W, num_train=2, num_test=1)
TARGET = replace(TARGET_T2W, num_train=2, num_development=1, num_test=1)
OTHER_TARGET = replace(TARGET_FLAIR, num_train=1, num_development=0, num_test=1)


def write(folder: Path, *centres: CentreRecipe, seed: int = 7) -> list[Path]:
    return write_cohort(folder, seed=seed, centres=centres, shape=SHAPE, spacing_mm=SPACING_MM)


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohorts") / "pair"
    write(folder, SOURCE, TARGET)
    return folder


def test_a_source_has_labels_for_training_and_testing(pair: Path) -> None:
    assert sorted(files_below(pair / "source-t1w")) == [
        "dataset.json",
        "imagesTr/case000_0000.nii.gz",
        "imagesTr/case001_0000.nii.gz",
        "imagesTs/case002_0000.nii.gz",
        "labelsTr/case000.nii.gz",
        "labelsTr/case001.nii.gz",
        "labelsTs/case002.nii.gz",
    ]


def test_a_target_has_no_training_labels_but_in_the_oracle_folder(pair: Path) -> None:
    assert sorted(files_below(pair / "target-t2w")) == [
        "dataset.json",
        "imagesTr/case000_0000.nii.gz",
        "imagesTr/case001_0000.nii.gz",
        "imagesTs/case002_0000.nii.gz",
        "imagesTs/case003_0000.nii.gz",
        "labelsTs/case002.nii.gz",
        "labelsTs/case003.nii.gz",
        "oracle/labelsTr/case000.nii.gz",
        "oracle/labelsTr/case001.nii.gz",
    ]


def test_the_description_says_what_is_there(pair: Path) -> None:
    source, target = (json.loads((pair / site / "dataset.json").read_text()) for site in ("source-t1w", "target-t2w"))

    assert target == {
        "channel_names": {"0": "T2w"},
        "labels": LABELS,
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "name": "target-t2w",
        "description": "Simulated T2w scans, 1.5T, of procedural brain phantoms",
        "evaluation": {"development": ["case002"], "test": ["case003"]},
    }
    # A split without cases isn't listed.
    assert source["evaluation"] == {"test": ["case002"]}


def volume(pair: Path, name: str) -> Volume:
    return load_volume(pair / name)


def test_images_and_labels_lie_on_the_grid_asked_for(pair: Path) -> None:
    image = volume(pair, "target-t2w/imagesTr/case000_0000.nii.gz")
    labels = volume(pair, "target-t2w/oracle/labelsTr/case000.nii.gz")

    assert image.shape == labels.shape == SHAPE
    assert image.spacing_mm == SPACING_MM
    assert image.orientation == "RAS"
    np.testing.assert_array_equal(image.affine_mm, labels.affine_mm)
    np.testing.assert_allclose(image.affine_mm[:3, 3], [-75, -95, -75])
    assert set(np.unique(labels.voxels)) <= set(LABELS.values())


def test_an_image_shows_the_person_whose_labels_it_has(pair: Path) -> None:
    fluid, white = {}, {}
    for case in ("case000", "case001"):
        image = volume(pair, f"target-t2w/imagesTr/{case}_0000.nii.gz").voxels
        for whose in ("case000", "case001"):
            labels = volume(pair, f"target-t2w/oracle/labelsTr/{whose}.nii.gz").voxels
            fluid[case, whose] = image[labels == LABELS["ventricles"]].mean()
            white[case, whose] = image[labels == LABELS["white_matter"]].mean()

    # T2w shows the ventricles brighter than white matter, and one's own ventricles best.
    for case, other in (("case000", "case001"), ("case001", "case000")):
        own_contrast = fluid[case, case] / white[case, case]
        assert own_contrast > 1.3
        assert own_contrast > fluid[case, other] / white[case, other]


def test_the_same_seed_gives_the_same_bytes(pair: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", SOURCE, TARGET)

    assert files_below(tmp_path / "again") == files_below(pair)


def test_another_seed_gives_other_people(pair: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", SOURCE, TARGET, seed=8)

    name = "source-t1w/labelsTr/case000.nii.gz"
    assert (volume(tmp_path / "other", name).voxels != volume(pair, name).voxels).any()


def test_people_do_not_depend_on_the_other_sites(pair: Path, tmp_path: Path) -> None:
    write(tmp_path / "three", OTHER_TARGET, SOURCE, TARGET)

    for site in ("source-t1w", "target-t2w"):
        assert files_below(tmp_path / "three" / site) == files_below(pair / site)


def test_test_people_do_not_depend_on_the_number_of_training_scans(pair: Path, tmp_path: Path) -> None:
    write(tmp_path / "more", replace(SOURCE, num_train=3))

    expected = (pair / "source-t1w/labelsTs/case002.nii.gz").read_bytes()
    assert (tmp_path / "more/source-t1w/labelsTs/case003.nii.gz").read_bytes() == expected


def test_nobody_is_scanned_twice(pair: Path) -> None:
    label_maps = [content for name, content in files_below(pair).items() if "labels" in name]

    assert len(label_maps) == len(set(label_maps)) == 7


def test_a_complete_cohort_is_reused_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "cohort", SOURCE)
    monkeypatch.setattr(cohort, "scan", None)

    assert write(tmp_path / "cohort", SOURCE) == first == [tmp_path / "cohort" / "source-t1w"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = iter([np.zeros(SHAPE, np.float32)])

    def scan_once(*_: object) -> object:
        for image in scans:
            return image
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "scan", scan_once)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cohort", SOURCE)

    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()

    write(tmp_path / "cohort", SOURCE)

    assert (tmp_path / "cohort" / MARKER_NAME).is_file()


def test_the_parents_of_the_folder_are_created(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b", SOURCE)

    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    with pytest.raises(ConfigError, match=f"holds files but no {MARKER_NAME}"):
        write(tmp_path, SOURCE)

    assert files_below(tmp_path) == {"thesis.txt": b"precious"}


def test_another_cohort_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "cohort", SOURCE, seed=1)
    before = files_below(tmp_path)

    with pytest.raises(ConfigError, match=r"seed 1\), wanted .*: choose another folder"):
        write(tmp_path / "cohort", SOURCE, seed=2)

    assert files_below(tmp_path) == before


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_cohort_is_not_taken_for_a_whole_one(tmp_path: Path, damage: str) -> None:
    (site,) = write(tmp_path / "cohort", SOURCE)
    victim = site / "imagesTr" / "case001_0000.nii.gz"
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-1])

    with pytest.raises(ConfigError, match="1 of 7 files are missing or changed, first source-t1w/imagesTr/case001"):
        write(tmp_path / "cohort", SOURCE)


@pytest.mark.parametrize("content", ["{", "{}", '{"digest": "x"}', "[]", '{"digest": "x", "files": 1}'])
def test_a_damaged_marker_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / MARKER_NAME).write_text(content)

    with pytest.raises(ConfigError, match="is damaged"):
        write(tmp_path, SOURCE)


def test_the_digest_tells_everything_apart_that_changes_a_voxel() -> None:
    recipes = [
        cohort_digest(seed=0),
        cohort_digest(seed=1),
        cohort_digest(seed=0, shape=(40, 48, 40)),
        cohort_digest(seed=0, spacing_mm=(4.0, 4.0, 4.0)),
        cohort_digest(seed=0, centres=(SOURCE,)),
        cohort_digest(seed=0, centres=(replace(SOURCE, scanner=TARGET.scanner),)),
    ]

    assert len(set(recipes)) == len(recipes)
    assert cohort_digest(seed=0, spacing_mm=(5, 5, 5)) == recipes[0]


@pytest.mark.parametrize("centres", [(), (SOURCE, SOURCE)])
def test_sites_need_names_of_their_own(tmp_path: Path, centres: tuple[CentreRecipe, ...]) -> None:
    with pytest.raises(ConfigError, match="wanted at least one, each with a name of its own"):
        write(tmp_path / "cohort", *centres)


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed of the cohort is -1"):
        write(tmp_path / "cohort", SOURCE, seed=-1)
