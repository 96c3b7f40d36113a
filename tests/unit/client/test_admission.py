"""The gate at the start of a run: quarantined cases are neither trained on nor scored, and their names stay."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest

from client.admission import RECORD, SALT, admitted, case_salt, let_in
from client.cases import test_files as files_to_score
from client.cases import training_cases
from client.site import Site
from client.site_state import SiteState
from client.tasks import introduce, run_task
from diffuse_uda.errors import InputError
from diffuse_uda.exchange.intake_words import told_case
from diffuse_uda.methods.phase import Task
from tests.tiny_site import first_weights, order_for, tiny_config

BROKEN = "imagesTr/case000_0000.nii.gz"


@pytest.fixture
def spoilt(source: Site, tmp_path: Path) -> Site:
    """The source with a folder of its own, whose first scan is empty."""
    folder = Path(shutil.copytree(source.data_dir, tmp_path / "source"))
    (folder / BROKEN).write_bytes(b"")
    return dataclasses.replace(source, data_dir=folder)


def test_a_quarantined_case_is_neither_counted_nor_trained_on_and_the_site_says_so(
    spoilt: Site, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config()
    with caplog.at_level(logging.WARNING):
        card = introduce(spoilt, config)
    assert card.num_cases == 1
    assert "1 are quarantined" in caplog.text
    cases = training_cases(spoilt, config.grid, SiteState(spoilt.workspace / "state"))
    assert [case.case_id for case in cases] == ["case001"]
    reply = run_task(spoilt, config, order_for(Task.WARM_UP), first_weights(config))
    assert reply.num_examples == 1
    record = json.loads((spoilt.workspace / RECORD).read_text())
    assert (record["num_training"], record["num_quarantined"]) == (1, 1)
    told = told_case("case000", case_salt(spoilt.workspace))
    assert [(entry["case"], entry["rule"], entry["told"]) for entry in record["quarantined"]] == [
        ("case000", "empty-file", told)
    ]


def test_a_quarantined_held_out_case_is_not_scored(source: Site, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source.data_dir, tmp_path / "source"))
    site = dataclasses.replace(source, data_dir=folder)
    scan = next((folder / "imagesTs").iterdir())
    assert len(files_to_score(site)) == 1
    scan.write_bytes(b"")
    (site.workspace / RECORD).unlink()
    assert files_to_score(site) == ()
    assert introduce(site, tiny_config()).num_test_cases == 0


def test_a_task_without_a_record_goes_through_the_gate_first(spoilt: Site) -> None:
    assert not (spoilt.workspace / RECORD).exists()
    assert [case.case_id for case in admitted(spoilt).train] == ["case001"]
    assert (spoilt.workspace / RECORD).exists()


def test_a_record_of_another_folder_is_not_believed(spoilt: Site, source: Site) -> None:
    let_in(source)
    assert len(admitted(source).train) == 2
    assert len(admitted(spoilt).train) == 1


def test_a_file_that_changes_during_the_run_stops_the_task(source: Site, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source.data_dir, tmp_path / "source"))
    site = dataclasses.replace(source, data_dir=folder)
    introduce(site, tiny_config())
    (folder / BROKEN).write_bytes((folder / BROKEN).read_bytes() + b"\0")
    with pytest.raises(InputError, match="changed-during-run"):
        run_task(site, tiny_config(), order_for(Task.WARM_UP), first_weights(tiny_config()))


def test_a_refused_folder_is_told_by_rules_and_salted_names(spoilt: Site) -> None:
    for scan in (spoilt.data_dir / "imagesTr").iterdir():
        scan.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        introduce(spoilt, tiny_config())
    salt = case_salt(spoilt.workspace)
    assert caught.value.told == (
        "too-few-left",
        f"empty-file {told_case('case000', salt)}",
        f"empty-file {told_case('case001', salt)}",
    )


def test_the_salt_is_made_once_and_for_this_account_alone(tmp_path: Path) -> None:
    salt = case_salt(tmp_path)
    assert len(salt) == 32
    assert case_salt(tmp_path) == salt
    assert (tmp_path / SALT).stat().st_mode & 0o077 == 0
    other = tmp_path / "other"
    other.mkdir()
    assert case_salt(other) != salt
