"""The gate as a whole: order, workers, memory of the files it saw, disks that go away."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.data.intake import IntakeOptions, Verdict, check_centre, examine_centre
from diffuse_uda.data.intake import case_check as case_check_module
from diffuse_uda.data.intake.case_check import WAITS_S, CaseTask, check_case
from diffuse_uda.data.intake.pool import choose_num_workers, ordered_results
from diffuse_uda.data.intake.record import admitted_centre, read_record, write_record
from diffuse_uda.data.intake.scan_rules import Modality
from diffuse_uda.data.volumes import load_scan
from diffuse_uda.errors import InputError
from diffuse_uda.types import SiteRole

SOURCE = SiteRole.SOURCE
OPTIONS = IntakeOptions()


def _squared_without_torch(number: int) -> int:
    return -1 if "torch" in sys.modules else number * number


def test_sound_centres_pass_without_a_word(spoiler: Any) -> None:
    report = spoiler.examine()
    assert (report.findings, report.verdict, report.quarantined_cases) == ((), Verdict.FINE, ())
    assert [case.checked.case_id for case in report.cases] == ["case0", "case1", "case2", "case3", "case4"]
    assert [case.checked.is_training for case in report.cases] == [True, True, True, False, False]


def test_all_findings_come_together_in_the_order_of_the_folder(spoiler: Any) -> None:
    (spoiler.root / "imagesTr/case0_0000.nii.gz").write_bytes(b"")
    (spoiler.root / "labelsTs/case4.nii.gz").write_bytes(b"")
    (spoiler.root / "imagesTr/zzz.txt").touch()
    report = spoiler.examine()
    assert [(finding.rule, finding.case) for finding in report.findings] == [
        ("unexpected-file", "-"),
        ("empty-file", "case0"),
        ("empty-file", "case4"),
    ]
    assert report.quarantined_cases == ("case0", "case4")
    assert [case.case_id for case in (*report.centre.train, *report.centre.test)] == ["case1", "case2", "case3"]


def test_findings_are_the_same_with_several_workers(spoiler: Any) -> None:
    spoiler.write(b"")
    (spoiler.root / "labelsTr/case2.nii.gz").write_bytes(b"")
    one = spoiler.examine()
    two = examine_centre(spoiler.root, SOURCE, site_id="leeds", num_workers=2)
    assert one.findings == two.findings
    assert [case.checked.scan for case in one.cases] == [case.checked.scan for case in two.cases]


def test_workers_start_without_torch_keep_the_order_of_the_tasks_and_take_few_ahead() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = ordered_results(_squared_without_torch, tasks(), num_workers=2)
    assert next(results) == 0
    assert len(taken) == 8
    assert list(results) == [number * number for number in range(1, 100)]


def test_few_cases_are_checked_in_this_process() -> None:
    assert [choose_num_workers(num_cases) for num_cases in (0, 1, 100)] == [1, 1, 1]


def test_progress_is_told_before_any_file_is_read(spoiler: Any) -> None:
    lines: list[str] = []
    examine_centre(spoiler.root, SOURCE, site_id="leeds", num_workers=1, on_progress=lines.append)
    assert lines == ["leeds: listing files as a source", "leeds: 3 training and 2 held-out scans"]


def test_every_file_is_read_once(spoiler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def load_and_count(path: Path, **named: Any) -> Any:
        opened.append(path)
        return load_scan(path, **named)

    monkeypatch.setattr(case_check_module, "load_scan", load_and_count)
    spoiler.examine()
    assert len(opened) == len(set(opened)) == 10


def test_a_refusal_names_centre_case_file_rule_found_wanted_and_fix(spoiler: Any) -> None:
    spoiler.describe(labels={"background": 0, "ventricle": 1})
    spoiler.write(b"")
    with pytest.raises(InputError) as caught:
        check_centre(spoiler.root, SOURCE, site_id="leeds", num_workers=1)
    text = str(caught.value)
    for part in (
        "[too-few-left]",
        "[empty-file]",
        "[label-outside-map]",
        "centre leeds, case case1",
        "wanted:",
        "fix:",
    ):
        assert part in text


def _task(spoiler: Any) -> CaseTask:
    case = CaseFiles(case_id="case1", image=spoiler.image_path, label_map=None)
    return CaseTask(
        site_id="leeds",
        root=spoiler.root,
        case=case,
        is_training=True,
        label_names={},
        modality=Modality.MRI,
        options=OPTIONS,
    )


def test_f19_a_disk_that_does_not_answer_is_tried_again(spoiler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    opened = Path.open

    def stale(path: Path, *args: Any, **named: Any) -> Any:
        if len(waited) < 2:
            raise OSError(116, "Stale file handle")
        return opened(path, *args, **named)

    monkeypatch.setattr(Path, "open", stale)
    assert check_case(_task(spoiler), sleep=waited.append).findings == ()
    assert waited == [1.0, 2.0]


def test_f19_a_disk_that_is_gone_pauses_everything(spoiler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def stale(_path: Path, *_args: Any, **_named: Any) -> Any:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(Path, "open", stale)
    findings = check_case(_task(spoiler), sleep=waited.append).findings
    assert [(finding.rule, finding.found) for finding in findings] == [("storage-gone", "Stale file handle")]
    assert waited == list(WAITS_S)


def test_f19_a_folder_that_vanishes_is_no_folder_of_missing_files(spoiler: Any) -> None:
    task = _task(spoiler)
    spoiler.root.rename(spoiler.root.with_name("unmounted"))
    findings = check_case(task, sleep=lambda _s: None).findings
    assert [(finding.rule, finding.found) for finding in findings] == [
        ("storage-gone", "the centre's folder is no longer there")
    ]


def test_f19_nothing_is_said_about_the_rest_of_a_disk_that_is_gone(
    spoiler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(task: CaseTask) -> Any:
        return check_case(task, sleep=lambda _s: None)

    def stale(_path: Path, *_args: Any, **_named: Any) -> Any:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("diffuse_uda.data.intake.gate.check_case", gone)
    monkeypatch.setattr("diffuse_uda.data.volumes._check_container", stale)
    report = spoiler.examine()
    assert {finding.rule for finding in report.findings} == {"storage-gone"}
    assert len(report.cases) == 1
    assert report.verdict is Verdict.REFUSED


def test_a_record_lets_in_what_the_gate_let_in(spoiler: Any, tmp_path: Path) -> None:
    spoiler.write(b"")
    write_record(tmp_path / "intake.json", spoiler.examine(), lambda case: f"salted-{len(case)}")
    record = read_record(tmp_path / "intake.json")
    assert record is not None
    centre = admitted_centre(record, "leeds", OPTIONS)
    assert [case.case_id for case in (*centre.train, *centre.test)] == ["case0", "case2", "case3", "case4"]
    written = json.loads((tmp_path / "intake.json").read_text())
    assert (written["num_training"], written["num_held_out"], written["num_quarantined"]) == (2, 2, 1)
    assert written["quarantined"][0] == {
        "case": "case1",
        "told": "salted-5",
        "rule": "empty-file",
        "found": "zero bytes",
    }
    assert (tmp_path / "intake.json").stat().st_mode & 0o077 == 0


def test_f18_a_file_that_changed_since_the_gate_pauses_the_run(spoiler: Any, tmp_path: Path) -> None:
    write_record(tmp_path / "intake.json", spoiler.examine(), str)
    record = read_record(tmp_path / "intake.json")
    assert record is not None
    (spoiler.root / "imagesTr/case7_0000.nii.gz").write_bytes(b"came later, and is nobody's")
    assert len(admitted_centre(record, "leeds", OPTIONS).train) == 3
    spoiler.image_with(7.0)
    with pytest.raises(InputError, match="changed-during-run") as caught:
        admitted_centre(record, "leeds", OPTIONS)
    assert [finding.file for finding in caught.value.findings] == [str(spoiler.image_path)]


def test_training_labels_of_a_target_stay_out_of_reach_of_the_record(spoiler: Any, tmp_path: Path) -> None:
    write_record(tmp_path / "intake.json", spoiler.examine(SiteRole.TARGET), str)
    record = read_record(tmp_path / "intake.json")
    assert record is not None
    assert {case.label_map for case in admitted_centre(record, "leeds", OPTIONS).train} == {None}
    assert "labelsTr" not in (tmp_path / "intake.json").read_text().split('"stamps"')[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"form": 99}', '{"form": 1, "root": "x", "role": "nobody"}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "intake.json").write_text(content)
    assert read_record(tmp_path / "intake.json") is None


def test_a_source_may_declare_scans_without_labels_but_not_all_of_them(make_centre: Any) -> None:
    root = make_centre(unlabelled=["case1", "case2"])
    (root / "labelsTr" / "case2.nii.gz").unlink()
    report = check_centre(root, SOURCE, site_id="leeds")
    assert [case.label_map is not None for case in report.centre.train] == [True, False, False]
    with pytest.raises(InputError) as caught:
        check_centre(make_centre("york", unlabelled=["case0", "case1", "case2"]), SOURCE, site_id="york")
    assert "no-labels-at-source" in [finding.rule for finding in caught.value.findings]
