"""Centre folders on disk: whole or not at all, the same for any number of processes, nothing of the input's headers."""

import gzip
import json
import stat
import weakref
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from diffuse_uda.data.formats.contract import ListedCase, Listing
from diffuse_uda.data.formats.folders import list_folders
from diffuse_uda.data.intake import check_centre
from diffuse_uda.data.preparation.centre import CentreWish, plan_centre
from diffuse_uda.data.preparation.plan import PreparationPlan
from diffuse_uda.data.preparation.splits import HeldOut
from diffuse_uda.data.preparation.writing import case_names_file, write_centres
from diffuse_uda.data.volumes import Volume, load_volume
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.types import SiteRole
from tests.layouts.anatomy import Anatomy, an_anatomy, save_planted
from tests.layouts.generic import write_folders
from tests.planted import STEM, holds_a_name

LABELS = {"ventricle": (1,), "tumour": (2,)}


def _plan(root: Path, role: SiteRole = SiteRole.TARGET, num_test: int = 2) -> PreparationPlan:
    cases = {f"{STEM}-{number}": an_anatomy(number) for number in range(6)}
    write_folders(root, cases)
    listing = list_folders(root, "{case}/t1.nii.gz", "{case}/seg.nii.gz")
    wish = CentreWish(
        role=role,
        name="leeds",
        labels=LABELS,
        channel_name="T1w",
        held_out=HeldOut(num_development=1, num_test=num_test),
        seed=3,
    )
    return plan_centre("folders", listing, wish)


def _tree(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_a_target_keeps_its_training_labels_out_of_reach(tmp_path: Path) -> None:
    prepared = write_centres(_plan(tmp_path / "in"), tmp_path / "out", [tmp_path / "in"])

    (folder,) = prepared.centres
    assert folder == tmp_path / "out" / "target_leeds"
    counts = {
        name: len(list((folder / name).iterdir())) for name in ("imagesTr", "oracle/labelsTr", "imagesTs", "labelsTs")
    }
    assert counts == {"imagesTr": 3, "oracle/labelsTr": 3, "imagesTs": 3, "labelsTs": 3}
    assert not (folder / "labelsTr").exists()
    said = json.loads((folder / "dataset.json").read_text())
    assert said["labels"] == {"background": 0, "ventricle": 1, "tumour": 2}
    assert said["numTraining"] == 3
    assert {part: len(cases) for part, cases in said["evaluation"].items()} == {"development": 1, "test": 2}
    assert check_centre(folder, SiteRole.TARGET, site_id="leeds").warnings == []


def test_a_source_has_its_labels_where_training_looks(tmp_path: Path) -> None:
    prepared = write_centres(_plan(tmp_path / "in", SiteRole.SOURCE), tmp_path / "out", [tmp_path / "in"])

    (folder,) = prepared.centres
    assert len(list((folder / "labelsTr").iterdir())) == 3
    assert not (folder / "oracle").exists()
    assert check_centre(folder, SiteRole.SOURCE, site_id="leeds").warnings == []


def test_nothing_of_a_name_is_in_what_is_written_but_in_the_private_file(tmp_path: Path) -> None:
    prepared = write_centres(_plan(tmp_path / "in"), tmp_path / "out", [tmp_path / "in"])

    for name, content in _tree(tmp_path / "out").items():
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        assert holds_a_name(content + plain + name.encode()) == []
        if name.endswith(".gz"):
            assert plain[348:352] == b"\0\0\0\0"  # no header extension
    names = prepared.case_names
    assert names == tmp_path / "out-case-names-private.json"
    assert stat.S_IMODE(names.stat().st_mode) == 0o600
    private = json.loads(names.read_text())["target_leeds"]
    assert {entry["patient"] for entry in private.values()} == {f"{STEM}-{number}" for number in range(6)}
    assert set(private) == {f"case{number:04d}" for number in range(1, 7)}


def test_voxels_and_affine_are_those_of_the_scan(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "in")
    (folder,) = write_centres(plan, tmp_path / "out", [tmp_path / "in"]).centres

    for case in plan.centres[0].cases:
        anatomy = an_anatomy(int(case.listed.case_id.rsplit("-", maxsplit=1)[1]))
        images = "imagesTr" if case.part == "train" else "imagesTs"
        labels = "oracle/labelsTr" if case.part == "train" else "labelsTs"
        image = load_volume(folder / images / f"{case.case_id}_0000.nii.gz")
        np.testing.assert_array_equal(image.voxels, anatomy.image.voxels)
        assert image.voxels.dtype == np.int16
        np.testing.assert_allclose(image.affine_mm, anatomy.image.affine_mm, atol=1e-5)
        label_map = load_volume(folder / labels / f"{case.case_id}.nii.gz")
        np.testing.assert_array_equal(label_map.voxels, anatomy.label_map.voxels)


_ALIVE: list[weakref.ref[np.ndarray]] = []


@dataclass(frozen=True)
class _Watched:
    """A source that says how many scans are in memory while it is read."""

    seed: int
    counts: list[int]

    def load(self) -> Volume:
        image = an_anatomy(self.seed).image
        _ALIVE.append(weakref.ref(image.voxels))
        self.counts.append(sum(one() is not None for one in _ALIVE))
        return image


def test_one_case_at_a_time_is_in_memory(tmp_path: Path) -> None:
    counts: list[int] = []
    cases = tuple(
        ListedCase(case_id=f"c{seed}", patient=f"c{seed}", place=tmp_path, image=_Watched(seed, counts))
        for seed in range(5)
    )
    wish = CentreWish(role=SiteRole.TARGET, name="x", labels=LABELS, channel_name="T1w")
    write_centres(plan_centre("folders", Listing(cases=cases), wish), tmp_path / "out", [tmp_path / "in"])

    assert counts == [1, 1, 1, 1, 1]


def test_processes_change_no_byte(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "in")
    alone = write_centres(plan, tmp_path / "alone", [tmp_path / "in"])
    seen: list[tuple[int, int]] = []
    write_centres(
        plan,
        tmp_path / "two",
        [tmp_path / "in"],
        num_workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )

    assert alone.left_out == ()
    assert _tree(tmp_path / "alone") == _tree(tmp_path / "two")
    assert seen == [(number, 6) for number in range(1, 7)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_interrupts_leaves_nothing_that_looks_like_a_centre(
    error: type[BaseException], tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        # Even a kill at this point leaves only a hidden folder without a description.
        assert not (tmp_path / "out").exists()
        assert list(tmp_path.rglob("dataset.json")) == []
        if done == 4:
            raise error

    with pytest.raises(error):
        write_centres(_plan(tmp_path / "in"), tmp_path / "out", [tmp_path / "in"], progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_failed_last_step_takes_the_private_file_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(tmp_path / "in")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        write_centres(plan, tmp_path / "out", [tmp_path / "in"])
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_output_folder_with_something_in_it_or_inside_the_input_is_refused(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "in")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for out in (tmp_path / "full", tmp_path / "in" / "out", tmp_path / "in", tmp_path):
        with pytest.raises(ConfigError):
            write_centres(plan, out, [tmp_path / "in"])
    (tmp_path / "empty").mkdir()
    assert write_centres(plan, tmp_path / "empty", [tmp_path / "in"]).centres[0].is_dir()


def test_a_private_file_of_an_earlier_output_is_never_written_over(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "in")
    case_names_file(tmp_path / "out").write_text("{}")

    with pytest.raises(ConfigError, match="whose"):
        write_centres(plan, tmp_path / "out", [tmp_path / "in"])


def test_every_broken_case_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    plan = _plan(tmp_path / "in")
    (tmp_path / "in" / f"{STEM}-2" / "t1.nii.gz").write_bytes(b"")
    shifted = an_anatomy(4).label_map.affine_mm.copy()
    shifted[0, 3] += 500
    save_planted(
        tmp_path / "in" / f"{STEM}-4" / "seg.nii.gz",
        Volume(voxels=an_anatomy(4).label_map.voxels, affine_mm=shifted),
    )

    with pytest.raises(InputError) as refused:
        write_centres(plan, tmp_path / "out", [tmp_path / "in"])
    assert sorted(finding.rule for finding in refused.value.findings) == ["empty-file", "place-differs"]
    assert not (tmp_path / "out").exists()

    prepared = write_centres(plan, tmp_path / "out", [tmp_path / "in"], skip_broken=True)
    assert [finding.case for finding in prepared.left_out] == [
        case.listed.case_id for case in plan.centres[0].cases if case.listed.case_id[-1] in "24"
    ]
    report = check_centre(prepared.centres[0], SiteRole.TARGET, site_id="leeds")
    assert report.warnings == []
    assert len(report.centre.train) + len(report.centre.test) == 4


def test_a_number_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    anatomy = an_anatomy(9)
    odd = anatomy.label_map.voxels.copy()
    odd[0, 0, 0] = 7
    write_folders(
        tmp_path / "in",
        {"a": Anatomy(image=anatomy.image, label_map=Volume(voxels=odd, affine_mm=anatomy.image.affine_mm))},
    )
    listing = list_folders(tmp_path / "in", "{case}/t1.nii.gz", "{case}/seg.nii.gz")
    wish = CentreWish(role=SiteRole.SOURCE, name="x", labels={"ventricle": (1, 2)}, channel_name="T1w")

    with pytest.raises(InputError, match=r"\[7\]"):
        write_centres(plan_centre("folders", listing, wish), tmp_path / "out", [tmp_path / "in"])


def test_label_maps_saved_as_scaled_floats_are_rounded_and_halves_are_refused(tmp_path: Path) -> None:
    for value, rule in ((0.996, None), (0.5, "non-integer-labels")):
        root = tmp_path / f"in{value}"
        anatomy = an_anatomy(1)
        write_folders(root, {"a": anatomy})
        floats = np.where(anatomy.label_map.voxels == 1, value, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(floats, anatomy.image.affine_mm), root / "a" / "seg.nii.gz")
        listing = list_folders(root, "{case}/t1.nii.gz", "{case}/seg.nii.gz")
        wish = CentreWish(role=SiteRole.SOURCE, name="x", labels={"ventricle": (1,)}, channel_name="T1w")
        plan = plan_centre("folders", listing, wish)
        if rule is None:
            (folder,) = write_centres(plan, tmp_path / f"out{value}", [root]).centres
            found = load_volume(folder / "labelsTr" / "case0001.nii.gz").voxels
            np.testing.assert_array_equal(found, anatomy.label_map.voxels == 1)
        else:
            with pytest.raises(InputError, match=rule):
                write_centres(plan, tmp_path / f"out{value}", [root])
