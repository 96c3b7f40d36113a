from pathlib import Path

import pytest

from diffuse_uda.data.formats.bids import BESIDE, BidsChoice, list_bids, parse_name
from diffuse_uda.data.formats.contract import NiftiFile
from diffuse_uda.errors import InputError


def _tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _label(root: Path, choice: BidsChoice) -> str:
    source = list_bids(root, choice).cases[0].label_map
    assert isinstance(source, NiftiFile)
    return source.path.relative_to(root).as_posix()


def test_a_name_is_entities_and_a_suffix() -> None:
    name = parse_name(Path("sub-01_ses-2_acq-3D_T1w.nii.gz"))

    assert name is not None
    assert dict(name.entities) == {"sub": "01", "ses": "2", "acq": "3D"}
    assert (name.suffix, name.case_id) == ("T1w", "sub-01_ses-2")
    for other in ("sub-01_T1w.json", "T1w.nii.gz", "sub-01.nii.gz", "ses-1_sub-01_T1w.nii", "sub-01_x_T1w.nii"):
        assert parse_name(Path(other)) is None


def test_sessions_are_cases_of_one_person(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
    )
    cases = list_bids(root, BidsChoice()).cases

    assert [(case.case_id, case.patient) for case in cases] == [("sub-01_ses-1", "01"), ("sub-01_ses-2", "01")]


def test_two_scans_of_a_session_are_never_chosen_from(tmp_path: Path) -> None:
    root = _tree(tmp_path, "sub-01/anat/sub-01_run-1_T1w.nii.gz", "sub-01/anat/sub-01_run-2_T1w.nii.gz")

    with pytest.raises(InputError, match=r"bids-ambiguous(.|\n)*--entity KEY=VALUE, with one of \['run'\]"):
        list_bids(root, BidsChoice())
    (case,) = list_bids(root, BidsChoice(entities={"run": "2"})).cases
    assert case.place.name == "sub-01_run-2_T1w.nii.gz"


def test_segmentations_come_from_the_derivative_that_is_named(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz",
        "derivatives/fast/sub-01/anat/sub-01_desc-a_dseg.nii.gz",
        "derivatives/fast/sub-01/anat/sub-01_desc-b_dseg.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    )

    assert _label(root, BidsChoice(derivative="manual")) == "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz"
    assert _label(root, BidsChoice(label_entities={"desc": "b"})).endswith("sub-01_desc-b_dseg.nii.gz")
    for choice in (BidsChoice(), BidsChoice(derivative="fast")):
        with pytest.raises(InputError, match="bids-ambiguous"):
            list_bids(root, choice)
    (root / "sub-01" / "anat" / "sub-01_dseg.nii.gz").touch()
    assert _label(root, BidsChoice(derivative=BESIDE)) == "sub-01/anat/sub-01_dseg.nii.gz"
    with pytest.raises(InputError, match="bids-derivative"):
        list_bids(root, BidsChoice(derivative="nobody"))


def test_segmentations_may_lie_beside_the_scans(tmp_path: Path) -> None:
    root = _tree(tmp_path, "sub-01/anat/sub-01_rec-mial_T2w.nii.gz", "sub-01/anat/sub-01_rec-mial_dseg.nii.gz")

    assert _label(root, BidsChoice(suffix="T2w")) == "sub-01/anat/sub-01_rec-mial_dseg.nii.gz"


def test_label_names_come_from_the_lookup_tables(tmp_path: Path) -> None:
    root = _tree(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz")
    manual = root / "derivatives" / "manual"
    (manual / "dseg.tsv").write_text("index\tname\tcolor\n0\tbackground\t#000000\n17\thippocampus\t#ff0000\n")
    (manual / "sub-01" / "anat" / "sub-01_dseg.tsv").write_text("index\tname\n18\tamygdala\n")
    (root / "derivatives" / "other").mkdir()
    (root / "derivatives" / "other" / "dseg.tsv").write_text("index\tname\n17\tthalamus\n")

    assert list_bids(root, BidsChoice()).label_names == {17: "hippocampus", 18: "amygdala"}

    (manual / "sub-01" / "anat" / "sub-01_dseg.tsv").write_text("index\tname\n17\tamygdala\n")
    with pytest.raises(InputError, match="'amygdala' here"):
        list_bids(root, BidsChoice())


@pytest.mark.parametrize("text", ["number\tname\n1\tx\n", "index\tname\none\tx\n", ""])
def test_a_lookup_table_of_another_form_is_refused_or_empty(text: str, tmp_path: Path) -> None:
    root = _tree(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_dseg.nii.gz")
    (root / "dseg.tsv").write_text(text)
    if text:
        with pytest.raises(InputError, match="bids-lookup-table"):
            list_bids(root, BidsChoice())
    else:
        assert list_bids(root, BidsChoice()).label_names == {}
