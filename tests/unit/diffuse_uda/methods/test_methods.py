"""Methods are data: which phase follows which, who works in it, and what may come back."""

from __future__ import annotations

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange, Method, PhaseName, Task, evaluation
from diffuse_uda.types import ModelName, Scalar, SiteRole
from tests.declared_methods import built, labels

METHODS = ["source-only", "shipped-and-adapted", "asc", "asc-plus", "diffuse-uda", "le-uda"]


def test_source_only_is_a_warm_up_and_its_evaluation() -> None:
    assert labels(built("source-only")) == ["warm-up", "evaluate-source-only"]


@pytest.mark.parametrize("name", METHODS)
def test_random_looks_in_the_warm_up_give_its_row_another_name(name: str) -> None:
    assert labels(built(name))[1] == "evaluate-source-only"
    assert labels(built(name, **{"warm-up.random-look-share": 0.1}))[1] == "evaluate-source-only-random-conv"


def test_shipped_and_adapted_ships_once_and_every_target_scores_its_own_model() -> None:
    *_, adapt, scored = built("shipped-and-adapted").phases
    assert labels(built("shipped-and-adapted")) == [
        "warm-up",
        "evaluate-source-only",
        "adapt-locally",
        "evaluate-shipped-and-adapted",
    ]
    assert (adapt.tasks, adapt.exchange, adapt.num_rounds) == (
        {SiteRole.TARGET: Task.ADAPT_LOCALLY},
        Exchange.NOTHING,
        1,
    )
    assert scored.tasks == {SiteRole.SOURCE: Task.EVALUATE, SiteRole.TARGET: Task.EVALUATE_LOCALLY}


@pytest.mark.parametrize("name", ["asc", "asc-plus"])
def test_asc_adapts_after_the_warm_up_and_reports_both_rows(name: str) -> None:
    assert labels(built(name)) == ["warm-up", "evaluate-source-only", "adapt", f"evaluate-{name}"]


def test_diffuse_uda_continues_asc_plus_and_reports_its_row_for_nothing() -> None:
    assert labels(built("diffuse-uda")) == [
        *labels(built("asc-plus")),
        "pseudo-label",
        "describe",
        "keep-table",
        "recolour",
        "evaluate-recoloured",
        "relabel",
        "diffuse",
        "synthesise",
        "refine",
        "evaluate-diffuse-uda",
    ]


@pytest.mark.parametrize(
    "change", [{"recolour.num-rounds": 0}, {"denoiser.class-table": False, "diffusion.prediction-type": "velocity"}]
)
def test_without_rounds_or_a_class_table_nothing_is_recoloured(change: dict[str, Scalar]) -> None:
    assert labels(built("diffuse-uda", **change))[4:] == [
        "pseudo-label",
        "diffuse",
        "synthesise",
        "refine",
        "evaluate-diffuse-uda",
    ]


def test_every_turn_of_recolouring_describes_the_classes_anew_and_the_last_one_is_scored() -> None:
    assert labels(built("diffuse-uda", **{"recolour.num-turns": 2}))[4:15] == [
        "pseudo-label",
        "describe",
        "keep-table",
        "recolour",
        "relabel",
        "describe-2",
        "keep-table-2",
        "recolour-2",
        "evaluate-recoloured",
        "relabel-2",
        "diffuse",
    ]


def test_a_second_pass_repeats_the_generator_and_only_the_last_row_has_the_methods_name() -> None:
    assert labels(built("diffuse-uda", **{"num-passes": 2}))[10:] == [
        "diffuse",
        "synthesise",
        "refine",
        "evaluate-diffuse-uda-pass-1",
        "pseudo-label-2",
        "diffuse-2",
        "synthesise-2",
        "refine-2",
        "evaluate-diffuse-uda",
    ]


@pytest.mark.parametrize("name", METHODS)
def test_labels_are_unique_up_to_the_most_passes(name: str) -> None:
    found = labels(built(name, **{"num-passes": 4, "recolour.num-turns": 4}))
    assert len(set(found)) == len(found)


def test_two_phases_of_one_label_are_refused() -> None:
    with pytest.raises(ValueError, match="phase labels repeat"):
        Method(name="twice", phases=(evaluation("a"), evaluation("a")))


def test_in_source_only_the_targets_rest_until_the_evaluation() -> None:
    first, last = built("source-only").phases
    assert first.tasks == {SiteRole.SOURCE: Task.WARM_UP}
    assert last.tasks == {SiteRole.SOURCE: Task.EVALUATE, SiteRole.TARGET: Task.EVALUATE}


@pytest.mark.parametrize("name", METHODS)
def test_evaluation_is_the_only_phase_that_evaluates_and_it_sends_no_weights_back(name: str) -> None:
    for phase in built(name, **{"num-passes": 2}).phases:
        is_evaluation = phase.name is PhaseName.EVALUATE
        assert (Task.EVALUATE in phase.tasks.values()) == is_evaluation
        assert bool(phase.row) == is_evaluation
        if is_evaluation:
            assert (phase.exchange, phase.num_rounds, phase.model) == (Exchange.NOTHING, 1, ModelName.SEGMENTER)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_ends_with_the_evaluation_that_carries_its_name(name: str) -> None:
    assert built(name).phases[-1].row == name


def test_pseudo_labels_and_rendered_pairs_stay_and_only_the_denoiser_serves_the_generator() -> None:
    phases = {phase.name: phase for phase in built("diffuse-uda").phases}
    assert phases[PhaseName.PSEUDO_LABEL].tasks == {SiteRole.TARGET: Task.PSEUDO_LABEL}
    assert phases[PhaseName.RELABEL].tasks == phases[PhaseName.PSEUDO_LABEL].tasks
    assert {name for name, phase in phases.items() if phase.exchange is Exchange.WEIGHTS} == {
        PhaseName.WARM_UP,
        PhaseName.ADAPT,
        PhaseName.DESCRIBE,
        PhaseName.RECOLOUR,
        PhaseName.DIFFUSE,
        PhaseName.REFINE,
    }
    assert {name for name, phase in phases.items() if phase.model is ModelName.DENOISER} == {
        PhaseName.DESCRIBE,
        PhaseName.KEEP_TABLE,
        PhaseName.DIFFUSE,
        PhaseName.SYNTHESISE,
    }


def test_rounds_come_from_the_study() -> None:
    rounds = {"warm-up.num-rounds": 2, "adapt.num-rounds": 3, "diffuse.num-rounds": 4, "refine.num-rounds": 5}
    found = {phase.label: phase.num_rounds for phase in built("diffuse-uda", **rounds).phases}
    assert [found[label] for label in ("warm-up", "adapt", "diffuse", "refine")] == [2, 3, 4, 5]
    assert found["pseudo-label"] == found["synthesise"] == found["describe"] == 1


def test_only_the_source_recolours_because_only_it_has_exact_labels() -> None:
    (phase,) = (phase for phase in built("diffuse-uda").phases if phase.name is PhaseName.RECOLOUR)
    assert phase.tasks == {SiteRole.SOURCE: Task.RECOLOUR}
    assert phase.per_target


def test_asc_plus_adds_the_adaptive_window_and_augmentation() -> None:
    plain, plus, whole = built("asc").adapt, built("asc-plus").adapt, built("diffuse-uda").adapt
    assert (plain.adaptive_window, plain.augment) == (False, False)
    assert (plus.adaptive_window, plus.augment) == (True, True)
    assert whole == plus


def test_a_method_that_is_not_declared_is_refused_with_the_known_ones() -> None:
    study = StudyConfig().model_copy(update={"method": "magic"})
    with pytest.raises(ConfigError, match=r"unknown method 'magic'; known: .*'asc'"):
        build_method(study)


def test_a_phase_per_target_is_written_out_in_the_order_of_the_domains() -> None:
    config = StudyConfig(num_passes=2)
    refinements = [phase for phase in build_method(config, num_targets=2).phases if phase.name is PhaseName.REFINE]
    assert [(phase.label, phase.checkpoint) for phase in refinements] == [
        ("refine-for-1", "segmenter-1"),
        ("refine-for-2", "segmenter-2"),
        ("refine-2-for-1", "segmenter-1"),
        ("refine-2-for-2", "segmenter-2"),
    ]
    declared = [phase.label for phase in build_method(config).phases if phase.name is PhaseName.REFINE]
    assert declared == ["refine", "refine-2"]


@pytest.mark.parametrize("per_target", [True, False])
def test_the_source_scores_only_what_all_sites_share(per_target: bool) -> None:  # noqa: FBT001 - a case
    phases = built("diffuse-uda", **{"refine.per-target": per_target}).phases
    asked = {phase.row: SiteRole.SOURCE in phase.tasks for phase in phases if phase.row}
    assert asked["asc-plus"]
    assert asked["diffuse-uda"] is not per_target


def test_one_segmenter_for_all_targets_is_a_choice() -> None:
    config = StudyConfig.from_flat({"refine.per-target": False})
    assert build_method(config, num_targets=3) == build_method(config)


def test_targets_rest_in_the_refinement_where_the_source_counts_for_everything() -> None:
    def roles(name: PhaseName, **flat: Scalar) -> set[SiteRole]:
        (phase,) = (phase for phase in built("diffuse-uda", **flat).phases if phase.name is name)
        return set(phase.tasks)

    alone: dict[str, Scalar] = {"refine.source-weight": 1.0}
    both = {SiteRole.SOURCE, SiteRole.TARGET}
    for name in (PhaseName.SYNTHESISE, PhaseName.REFINE):
        assert roles(name) == both
        assert roles(name, **alone) == {SiteRole.SOURCE}
    # looks that the adaptation of a later pass would take are rendered in any case
    assert roles(PhaseName.SYNTHESISE, **alone, **{"style.provider": "synthetic"}) == both
