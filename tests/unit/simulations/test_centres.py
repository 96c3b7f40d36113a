"""Which folders take part, and what stops a run before round 1."""

import shutil
from pathlib import Path

import pytest

from diffuse_uda.errors import InputError
from diffuse_uda.types import SiteRole
from simulations.centres import check_centres, find_centres


def _folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_the_source_comes_first_and_targets_follow_by_name(tmp_path: Path) -> None:
    root = _folders(tmp_path / "hospitals", "target_b", "source_x", "target_a", "notes")
    assert [folder.name for folder in find_centres(root)] == ["source_x", "target_a", "target_b"]


def test_targets_can_be_chosen(tmp_path: Path) -> None:
    root = _folders(tmp_path / "hospitals", "target_b", "source_x", "target_a")
    assert [folder.name for folder in find_centres(root, ["target_b"])] == ["source_x", "target_b"]


def test_the_same_people_are_never_two_hospitals_of_brain4(tmp_path: Path) -> None:
    root = _folders(
        tmp_path / "brain4", "source_ixi_t1", "target_flair_real", "target_pdw", "target_t1_real", "target_t2w"
    )
    names = {folder.name for folder in find_centres(root)}
    assert not {"target_t1_real", "target_flair_real"} <= names


@pytest.mark.parametrize(
    ("names", "targets", "words"), [((), (), "none named source"), (("source_x",), ("target_q",), "target_q")]
)
def test_a_folder_without_centres_is_refused(
    tmp_path: Path, names: tuple[str, ...], targets: tuple[str, ...], words: str
) -> None:
    root = _folders(tmp_path / "hospitals", "other", *names)
    with pytest.raises(InputError, match=words):
        find_centres(root, targets)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_centres(tmp_path / "nowhere")


def test_no_target_and_no_source_are_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-targets"):
        check_centres([tmp_path / "source_x"])
    with pytest.raises(InputError, match="no-source"):
        check_centres([tmp_path / "target_x"])


def test_problems_of_all_centres_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        check_centres([tmp_path / "source_x", tmp_path / "target_y"])
    assert {finding.centre for finding in refusal.value.findings} == {"source_x", "target_y"}


def test_checked_centres_know_their_role_and_a_targets_training_labels_are_out_of_reach(
    tmp_path: Path, small_cohort: list[Path]
) -> None:
    copies = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in small_cohort]
    shutil.copytree(copies[1] / "oracle" / "labelsTr", copies[1] / "labelsTr")
    centres = check_centres(copies)
    assert [centre.role for centre in centres] == [SiteRole.SOURCE, SiteRole.TARGET, SiteRole.TARGET]
    assert all(case.label_map is None for case in centres[1].files.train)
    assert [warning.rule for warning in centres[1].warnings] != []
