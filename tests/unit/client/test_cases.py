"""A budget of labels: which scans keep theirs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from client.cases import chosen_labelled, training_cases
from client.site import Site
from client.site_batches import labelled_examples, training_examples, unlabelled_examples
from client.site_state import SiteState
from client.workplace import open_workplace
from diffuse_uda.config import SourceConfig
from diffuse_uda.data.formats.nnunet import CaseFiles
from diffuse_uda.errors import ConfigError
from diffuse_uda.methods.phase import Task
from tests.tiny_site import order_for, tiny_config

FILES = [
    CaseFiles(case_id=f"case{index}", image=Path("i"), label_map=Path("l") if index < 8 else None)
    for index in range(10)
]


def chosen(num_labelled: int, draw: int = 0) -> frozenset[str]:
    return chosen_labelled(FILES, SourceConfig(num_labelled=num_labelled, label_draw=draw))


def test_a_smaller_budget_is_part_of_a_larger_one_and_another_draw_is_another_one() -> None:
    assert [len(chosen(count)) for count in (1, 2, 4, 8)] == [1, 2, 4, 8]
    assert chosen(1) < chosen(2) < chosen(4) < chosen(8)
    assert len({chosen(2, draw) for draw in range(10)}) > 3
    assert chosen(0) == chosen(8) == {f"case{index}" for index in range(8)}


def test_a_budget_beyond_what_is_labelled_is_refused() -> None:
    with pytest.raises(ConfigError, match="num-labelled = 9, and 8 training scans"):
        chosen(9)


def test_scans_outside_the_budget_take_part_without_their_labels(source: Site, target: Site) -> None:
    config = tiny_config({"source.num-labelled": 1})
    work = open_workplace(source, config, order_for(Task.WARM_UP))
    assert len(training_examples(work)) == len(unlabelled_examples(work)) == len(labelled_examples(work)) == 1
    whole = open_workplace(source, tiny_config(), order_for(Task.WARM_UP))
    assert (len(training_examples(whole)), len(unlabelled_examples(whole))) == (2, 0)
    # a budget is the source's: a target has no labels to count
    other = open_workplace(target, config, order_for(Task.ADAPT_TARGET))
    assert (len(training_examples(other)), len(unlabelled_examples(other))) == (2, 2)


def test_a_scan_declared_without_labels_needs_no_budget(source: Site, tmp_path: Path) -> None:
    copy = shutil.copytree(source.data_dir, tmp_path / "copy")
    description = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    first = min((copy / "labelsTr").iterdir()).name.removesuffix(".nii.gz")
    (copy / "dataset.json").write_text(json.dumps(description | {"unlabelled": [first]}), encoding="utf-8")
    site = dataclasses.replace(source, data_dir=copy)
    cases = training_cases(site, tiny_config().grid, SiteState(tmp_path / "state"))
    assert [case.case_id for case in cases if case.label_map is None] == [first]
