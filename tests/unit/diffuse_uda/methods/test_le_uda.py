"""LE-UDA's phases: by turns, with what its looks need, alone and as the beginning of Diffuse-UDA."""

from __future__ import annotations

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange, PhaseName
from diffuse_uda.types import Scalar, SiteRole
from tests.declared_methods import built, labels


def test_le_uda_labels_describes_translates_and_ensembles_by_turns() -> None:
    assert labels(built("le-uda")) == [
        "warm-up",
        "evaluate-source-only",
        "pseudo-label",
        "describe",
        "keep-table",
        "ensemble",
        "relabel-2",
        "describe-2",
        "keep-table-2",
        "ensemble-2",
        "evaluate-le-uda",
    ]
    for phase in built("le-uda").phases[2:-1]:
        assert phase.tasks.keys() == {SiteRole.SOURCE, SiteRole.TARGET}
        stays = phase.name in {PhaseName.PSEUDO_LABEL, PhaseName.RELABEL, PhaseName.KEEP_TABLE}
        assert (phase.exchange is Exchange.NOTHING) is stays


@pytest.mark.parametrize(
    ("translator", "between"),
    [
        ("diffusion", ["describe", "diffuse", "translate"]),
        ("encoding", ["describe", "diffuse", "translate"]),
        ("class-contrast", ["describe", "keep-table"]),
        ("fourier", []),
        ("none", []),
    ],
)
def test_what_comes_before_looks_is_what_they_need(translator: str, between: list[str]) -> None:
    options: dict[str, Scalar] = {
        "ensemble.translator": translator,
        "ensemble.num-turns": 1,
        "exchange.allow-style-blocks": True,
    }
    found = labels(built("le-uda", **options))
    assert found[found.index("pseudo-label") + 1 : found.index("ensemble")] == between


def test_le_uda_may_keep_a_student_for_every_target() -> None:
    method = build_method(StudyConfig.from_flat({"method": "le-uda", "ensemble.per-target": True}), num_targets=2)
    assert [label for label in labels(method) if label.startswith("ensemble")] == [
        "ensemble-for-1",
        "ensemble-for-2",
        "ensemble-2-for-1",
        "ensemble-2-for-2",
    ]
    assert SiteRole.SOURCE not in method.phases[-1].tasks


def test_targets_rest_in_the_ensemble_where_the_source_counts_for_everything() -> None:
    def roles(**flat: Scalar) -> list[set[SiteRole]]:
        return [set(phase.tasks) for phase in built("le-uda", **flat).phases if phase.name is PhaseName.ENSEMBLE]

    assert roles() == [{SiteRole.SOURCE, SiteRole.TARGET}] * 2
    assert roles(**{"ensemble.source-weight": 1.0}) == [{SiteRole.SOURCE}] * 2


def test_diffuse_uda_may_begin_with_le_uda_and_then_labels_the_source_as_well() -> None:
    options: dict[str, Scalar] = {
        "first-stage": "le-uda",
        "ensemble.num-turns": 1,
        "recolour.num-rounds": 1,
        "recolour.num-turns": 1,
        "refine.per-target": False,
    }
    method = built("diffuse-uda", **options)
    assert labels(method) == [
        "warm-up",
        "evaluate-source-only",
        "pseudo-label",
        "describe",
        "keep-table",
        "ensemble",
        "evaluate-le-uda",
        "pseudo-label-after-le-uda",
        "describe-after-le-uda",
        "keep-table-after-le-uda",
        "recolour-after-le-uda",
        "evaluate-recoloured-after-le-uda",
        "relabel-after-le-uda",
        "diffuse-after-le-uda",
        "synthesise-after-le-uda",
        "refine-after-le-uda",
        "evaluate-diffuse-uda-after-le-uda",
    ]
    by_label = {phase.label: phase for phase in method.phases}
    assert by_label["pseudo-label-after-le-uda"].tasks.keys() == {SiteRole.SOURCE, SiteRole.TARGET}
    assert by_label["relabel-after-le-uda"].tasks.keys() == {SiteRole.TARGET}
    assert StudyConfig.from_flat({"method": "diffuse-uda", "first-stage": "le-uda"}).has_critics
    assert not StudyConfig.from_flat({"method": "asc", "first-stage": "le-uda"}).has_critics
