"""Equal fingerprints mean equal results: what counts, what does not."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.types import Scalar, SiteRole
from simulations.study.fingerprint import (
    CHECKOUT,
    READ_BY,
    code_digest,
    config_without,
    data_digest,
    meaning,
    stage_keys,
)
from simulations.study.plan import _CODE

BASE: dict[str, Scalar] = {"num-passes": 1}


def _keys(**changes: Scalar) -> dict[str, str]:
    flat = {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
    return stage_keys(StudyConfig.from_flat({**BASE, **flat}), "here", num_targets=2)


def _shared(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [label for label in one if one[label] == other.get(label)]


def test_methods_share_what_comes_before_they_part() -> None:
    asc, asc_plus, full = (_keys(method=method) for method in ("asc", "asc-plus", "diffuse-uda"))
    assert _shared(asc, full) == ["warm-up", "evaluate-source-only"]
    assert _shared(asc_plus, full) == list(asc_plus)
    assert _shared(_keys(method="source-only"), asc) == ["warm-up", "evaluate-source-only"]


def test_a_model_with_critics_shares_nothing_with_one_without() -> None:
    le_uda, mt_uda = _keys(method="le-uda"), _keys(method="le-uda", ensemble__adversarial_weight=0.0)
    assert _shared(le_uda, _keys(method="asc")) == _shared(le_uda, mt_uda) == []
    assert _shared(mt_uda, _keys(method="source-only")) == ["warm-up", "evaluate-source-only"]
    other = _keys(method="le-uda", ensemble__inter_weight=1.0)
    assert _shared(le_uda, other)[-1] == "keep-table"


def test_the_number_of_passes_and_the_name_change_nothing_before_the_last_row() -> None:
    one, two = _keys(), _keys(num_passes=2, name="other")
    assert _shared(one, two)[-1] == "refine-for-2"


@pytest.mark.parametrize(
    ("key", "value", "last_shared"),
    [
        ("seed", 1, None),
        ("grid.window-overlap", 0.25, None),
        ("warm-up.learning-rate", 0.1, None),
        ("federation.quorum", 1.0, None),
        ("adapt.cut-mix", False, "evaluate-source-only"),
        ("style.window", 0.2, "evaluate-source-only"),
        ("pseudo-label.num-ensembled-rounds", 5, "warm-up"),
        ("denoiser.domain-conditioning", False, "pseudo-label"),
        ("diffuse.deform", False, "pseudo-label"),
        ("synthesise.batch-size", 2, "diffuse"),
        ("recolour.batch-size", 1, "keep-table"),
        ("refine.lambda-max", 1.0, "keep-table"),
        ("prediction.mixture-share", 0.0, "warm-up"),
    ],
)
def test_a_key_matters_from_the_phase_that_reads_it_first(key: str, value: Scalar, last_shared: str | None) -> None:
    base = stage_keys(StudyConfig.from_flat(BASE), "here", num_targets=2)
    changed = stage_keys(StudyConfig.from_flat({**BASE, key: value}), "here", num_targets=2)
    shared = _shared(base, changed)
    assert (shared[-1] if shared else None) == last_shared


def test_other_circumstances_share_nothing_and_a_phase_without_rounds_has_no_stage() -> None:
    config = StudyConfig.from_flat({**BASE, "diffuse.num-rounds": 0})
    assert not _shared(stage_keys(config, "here", num_targets=2), stage_keys(config, "there", num_targets=2))
    assert "diffuse" not in stage_keys(config, "here", num_targets=2)


def test_every_listed_section_exists() -> None:
    assert READ_BY.keys() <= StudyConfig.model_fields.keys()


def test_a_configuration_without_sections_is_the_same_whatever_they_say() -> None:
    one, other = StudyConfig(), StudyConfig.from_flat({"adapt.cut-mix": False, "name": "other"})
    assert config_without(one, ["adapt"]) == config_without(other, ["adapt"])
    assert config_without(one, []) != config_without(other, [])


def test_comments_docstrings_and_layout_mean_nothing() -> None:
    one = '"""Doc."""\nx = 1\n"""Of x."""\ndef f(a):\n    """Doc."""\n    return a + 1  # why\n'
    other = "x = (\n    1\n)\n\ndef f(a):\n    return a + 1\n"
    assert meaning(one) == meaning(other)
    assert meaning(one) != meaning(other.replace("+ 1", "+ 2"))
    assert meaning("def f():\n    'only words'\n")  # an empty body is no error


def test_code_counts_without_reports(tmp_path: Path) -> None:
    for name in ("diffuse_uda/a.py", "diffuse_uda/reporting/b.py", "server/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    before = code_digest(tmp_path, "diffuse_uda", "server/c.py")
    (tmp_path / "diffuse_uda/reporting/b.py").write_text("x = 2\n")
    code_digest.cache_clear()
    assert code_digest(tmp_path, "diffuse_uda", "server/c.py") == before
    (tmp_path / "server/c.py").write_text("x = 2\n")
    code_digest.cache_clear()
    assert code_digest(tmp_path, "diffuse_uda", "server/c.py") != before


@pytest.mark.parametrize("places", _CODE.values(), ids=lambda places: places[-1])
def test_what_an_engine_s_own_files_import_from_here_is_in_its_digest(places: tuple[str, ...]) -> None:
    for place in [place for place in places if place.endswith(".py")]:
        tree = ast.parse((CHECKOUT / place).read_text("utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        needed = {f"{name.replace('.', '/')}.py" for name in imported if name.startswith("simulations.")}
        assert needed <= set(places)


def test_data_are_known_by_name_content_and_role(tmp_path: Path) -> None:
    folder = tmp_path / "leeds"
    folder.mkdir()
    scan = folder / "scan.nii.gz"
    scan.write_bytes(b"12")
    os.utime(scan, ns=(1, 1))
    before = data_digest([folder], [SiteRole.TARGET])
    assert data_digest([folder], [SiteRole.TARGET]) == before
    assert data_digest([folder], [SiteRole.SOURCE]) != before
    os.utime(scan, ns=(2, 2))
    assert data_digest([folder], [SiteRole.TARGET]) == before
    scan.write_bytes(b"34")
    assert data_digest([folder], [SiteRole.TARGET]) != before
