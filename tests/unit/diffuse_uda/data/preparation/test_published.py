"""The papers' data sets, in small trees of exactly their layouts: prepared, let through the gate, and looked at."""

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from diffuse_uda.data.formats.nnunet import evaluation_cases, read_centre, read_oracle_label_maps
from diffuse_uda.data.intake import check_centre
from diffuse_uda.data.preparation.brats import plan_brats
from diffuse_uda.data.preparation.btcv import SHARED_ORGANS, plan_btcv
from diffuse_uda.data.preparation.chaos import plan_chaos
from diffuse_uda.data.preparation.feta import TISSUES, Atlas, plan_feta
from diffuse_uda.data.preparation.mmwhs import TEST, plan_mmwhs
from diffuse_uda.data.preparation.plan import PreparationPlan
from diffuse_uda.data.preparation.writing import write_centres
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.types import SiteRole
from tests.layouts import brats, btcv, chaos, mmwhs
from tests.layouts.anatomy import assert_same_in_patient_space, oblique_affine_mm, scan_of, striped
from tests.layouts.brats import write_brats
from tests.layouts.btcv import write_btcv
from tests.layouts.chaos import write_chaos
from tests.layouts.feta import write_atlas, write_feta
from tests.layouts.mmwhs import write_mmwhs
from tests.planted import holds_a_name

Tree = Callable[[Callable[[Path], Path]], Path]
"""Folder that a builder has written, once for all tests of this file."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    written: dict[str, Path] = {}

    def of(write: Callable[[Path], Path]) -> Path:
        if write.__name__ not in written:
            written[write.__name__] = write(tmp_path_factory.mktemp(write.__name__))
        return written[write.__name__]

    return of


def _atlas(tree: Tree, labels: Mapping[str, tuple[int, ...]]) -> Atlas:
    return Atlas(
        root=tree(write_atlas), image_pattern="{case}_T2w.nii.gz", label_pattern="{case}_dseg.nii.gz", labels=labels
    )


def _feta_with_atlas(tree: Tree) -> PreparationPlan:
    labels = {tissue: (10 + number,) for number, tissue in enumerate(TISSUES, start=1)}
    return plan_feta(tree(write_feta), atlas=_atlas(tree, labels))


PLANS: dict[str, Callable[[Tree], PreparationPlan]] = {
    "mmwhs": lambda tree: plan_mmwhs(tree(write_mmwhs)),
    "brats": lambda tree: plan_brats(tree(write_brats)),
    "feta": lambda tree: plan_feta(tree(write_feta)),
    "feta with an atlas": _feta_with_atlas,
    "btcv": lambda tree: plan_btcv(tree(write_btcv)),
    "btcv, all organs": lambda tree: plan_btcv(tree(write_btcv), all_organs=True),
    "chaos and btcv": lambda tree: plan_chaos(tree(write_chaos), btcv=tree(write_btcv)),
    "chaos to btcv": lambda tree: plan_chaos(tree(write_chaos), source="t2spir", btcv=tree(write_btcv)),
    "chaos, two sequences": lambda tree: plan_chaos(tree(write_chaos), source="t1dual"),
    "chaos, liver": lambda tree: plan_chaos(tree(write_chaos), source="ct"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_published_data_set_becomes_centres_that_the_gate_has_nothing_to_say_about(
    name: str, tmp_path: Path, tree: Tree
) -> None:
    plan = PLANS[name](tree)
    prepared = write_centres(plan, tmp_path / "out", [])

    people: list[str] = []
    label_names: dict[int, str] | None = None
    for folder, centre in zip(prepared.centres, plan.centres, strict=True):
        report = check_centre(folder, centre.role, site_id=folder.name, label_names=label_names)
        assert report.warnings == []
        label_names = label_names or report.centre.label_names
        assert tuple(label_names.values()) == ("background", *centre.classes.names)
        people += [case.listed.patient for case in centre.cases]
        is_target = centre.role is SiteRole.TARGET
        assert (folder / "labelsTr").exists() != is_target
        if is_target:
            assert read_oracle_label_maps(folder).keys() == {case.case_id for case in report.centre.train}
            assert len(evaluation_cases(report.centre, "test")) > 0
    assert len(set(people)) == len(people)
    assert prepared.case_names is None
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert holds_a_name(file.read_bytes()) == []
            if file.name.endswith(".gz"):
                _assert_clean(file)


def _assert_clean(file: Path) -> None:
    assert holds_a_name(gzip.decompress(file.read_bytes())) == []


@pytest.mark.parametrize(("source", "target"), [("ct", "mr"), ("mr", "ct")])
def test_mmwhs_has_the_split_of_the_papers(source: str, target: str, tree: Tree) -> None:
    plan = plan_mmwhs(tree(write_mmwhs), source=source)  # type: ignore[arg-type]

    at_source, at_target = plan.centres
    assert (at_source.name, at_target.name) == (f"source_{source}", f"target_{target}")
    for centre, modality, sizes in ((at_source, source, (16, 0, 4)), (at_target, target, (13, 3, 4))):
        parts = [case.part for case in centre.cases]
        assert tuple(parts.count(part) for part in ("train", "development", "test")) == sizes
        tested = {case.case_id for case in centre.cases if case.part == "test"}
        assert tested == {f"{modality}_{number}" for number in TEST[modality]}
    assert at_source.classes.names == ("myocardium_lv", "left_atrium", "left_ventricle", "ascending_aorta")


def test_mmwhs_numbers_become_consecutive_and_the_misprint_is_an_atrium(tmp_path: Path, tree: Tree) -> None:
    plan = plan_mmwhs(tree(write_mmwhs), source="mr")
    case = next(case for case in plan.centres[0].cases if case.case_id == "mr_1010")
    assert case.part == "train"
    out = write_centres(plan, tmp_path / "out", []).centres[0]

    # Written as layers of 0, 500, 600, 421, 550, 205, 820, 850.
    wanted = striped(mmwhs.SIZE, [3, 0, 2, 0, 1, 4, 0], oblique_affine_mm())
    assert_same_in_patient_space(load_volume(out / "labelsTr" / "mr_1010.nii.gz"), wanted)


def test_mmwhs_with_a_scan_missing_is_not_the_data_set(tmp_path: Path, tree: Tree) -> None:
    root = shutil.copytree(tree(write_mmwhs), tmp_path / "in")
    (root / "ct_train" / "ct_train_1007_label.nii.gz").unlink()

    with pytest.raises(InputError, match="ct_1007_label"):
        plan_mmwhs(root)


def test_brats_divides_people_between_the_sequences_and_finds_the_misnamed_segmentation(
    tmp_path: Path, tree: Tree
) -> None:
    plan = plan_brats(tree(write_brats))
    out = write_centres(plan, tmp_path / "out", [])

    source, target = plan.centres
    assert len(source.cases) == len(target.cases) == 5
    assert {case.listed.place.name.split("_")[-1] for case in source.cases} == {"flair.nii"}
    assert {case.listed.place.name.split("_")[-1] for case in target.cases} == {"t2.nii"}
    misnamed = f"BraTS20_Training_{brats.NUM_CASES:03d}"
    assert any(case.case_id == misnamed for centre in plan.centres for case in centre.cases)
    label_map = next(out.centres[0].glob("labelsT*/*.nii.gz"))
    wanted = striped(brats.SIZE, [1, 1, 1], oblique_affine_mm())  # written as 1, 2, 4
    assert_same_in_patient_space(load_volume(label_map), wanted)


def test_feta_with_an_atlas_tests_on_half_of_each_reconstruction(tree: Tree) -> None:
    source, target = _feta_with_atlas(tree).centres

    assert [case.part for case in source.cases] == ["train"] * 3
    tested = [case.listed.place.name for case in target.cases if case.part == "test"]
    assert sum("rec-mial" in name for name in tested) == sum("rec-irtk" in name for name in tested) == 2
    assert len(target.cases) == 8


def test_an_atlas_that_lacks_a_tissue_is_refused(tree: Tree) -> None:
    with pytest.raises(ConfigError, match="brainstem"):
        plan_feta(tree(write_feta), atlas=_atlas(tree, {"grey_matter": (12,)}))


def test_chaos_masks_lie_on_the_slices_that_they_were_drawn_on(tmp_path: Path, tree: Tree) -> None:
    plan = plan_chaos(tree(write_chaos))
    (folder,) = write_centres(plan, tmp_path / "out", []).centres

    centre = read_centre(folder)
    assert folder.name == "target_t2spir"
    assert len(centre.train) + len(centre.test) == len(chaos.MR_NUMBERS)
    oracle = read_oracle_label_maps(folder)
    drawn = striped(chaos.SIZE, chaos.GREYS, oblique_affine_mm())
    for case in centre.train:
        seed = 200 + int(case.case_id.removeprefix("mr_"))
        assert_same_in_patient_space(load_volume(case.image), scan_of(drawn, seed))
        wanted = striped(chaos.SIZE, [4, 3, 2, 1], oblique_affine_mm())
        assert_same_in_patient_space(load_volume(oracle[case.case_id]), wanted)


def test_chaos_ct_masks_are_the_liver(tmp_path: Path, tree: Tree) -> None:
    plan = plan_chaos(tree(write_chaos), source="ct")
    source, _ = write_centres(plan, tmp_path / "out", []).centres

    label_map = next((source / "labelsTr").iterdir())
    assert_same_in_patient_space(load_volume(label_map), striped(chaos.SIZE, [1], oblique_affine_mm()))
    assert json.loads((source / "dataset.json").read_text())["labels"] == {"background": 0, "liver": 1}


def test_a_grey_of_no_organ_and_a_missing_mask_are_refused(tmp_path: Path, tree: Tree) -> None:
    root = shutil.copytree(tree(write_chaos), tmp_path / "in")
    masks = sorted((root / "Train_Sets" / "MR" / "2" / "T2SPIR" / "Ground").iterdir())
    pixels = imread(masks[0])
    imsave(masks[0], np.where(pixels == 126, 90, pixels), check_contrast=False)
    with pytest.raises(InputError, match=r"grey values \[90\]"):
        write_centres(plan_chaos(root), tmp_path / "out", [root])
    assert not (tmp_path / "out").exists()

    masks[1].unlink()
    with pytest.raises(InputError, match="3 masks for 4 slices"):
        plan_chaos(root)


def test_btcv_and_chaos_share_four_organs_in_one_order(tmp_path: Path, tree: Tree) -> None:
    plan = plan_btcv(tree(write_btcv))
    (folder,) = write_centres(plan, tmp_path / "out", []).centres

    assert plan.centres[0].classes.names == SHARED_ORGANS
    # Written from the spleen, 1, and the left kidney, 3, to the right kidney, 2, and the liver, 6.
    wanted = striped(btcv.SIZE, [4, 3, *[0] * 9, 2, 1], oblique_affine_mm())
    assert_same_in_patient_space(load_volume(next((folder / "labelsTr").iterdir())), wanted)


@pytest.mark.parametrize("plan", [plan_mmwhs, plan_brats, plan_feta, plan_btcv, plan_chaos])
def test_a_folder_with_something_else_is_refused(plan: Callable[[Path], PreparationPlan], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError):
        plan(tmp_path)
