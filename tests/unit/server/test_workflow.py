"""Who does what, who has to answer, who may take part."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffuse_uda.config import (
    AdaptConfig,
    DenoiserConfig,
    DiffuseConfig,
    FederationConfig,
    RecolourConfig,
    RefineConfig,
    StudyConfig,
    WarmUpConfig,
)
from diffuse_uda.errors import ConfigError, QuorumError
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Method, PhaseName, Task
from server.workflow import (
    Step,
    assignments,
    fit_config,
    ordered_sites,
    require_membership,
    require_quorum,
    steps,
    work_order,
)
from tests.fake_federation import SOURCE, TARGET_A, TARGET_B

CONFIG = StudyConfig(
    num_passes=1,
    warm_up=WarmUpConfig(num_rounds=1),
    adapt=AdaptConfig(num_rounds=2),
    recolour=RecolourConfig(num_rounds=0),
    diffuse=DiffuseConfig(num_rounds=0),
    refine=RefineConfig(num_rounds=1),
)
METHOD = build_method(CONFIG)
SITES = (SOURCE, TARGET_A, TARGET_B)


def _step(name: PhaseName, method: Method = METHOD) -> Step:
    return Step(phase=next(phase for phase in method.phases if phase.name is name), server_round=1)


def test_every_round_of_every_phase_comes_in_order_and_a_phase_of_no_rounds_is_passed_over() -> None:
    walked = [(step.phase.label, step.server_round, step.is_last) for step in steps(METHOD)]
    assert walked == [
        ("warm-up", 1, True),
        ("evaluate-source-only", 1, True),
        ("adapt", 1, False),
        ("adapt", 2, True),
        ("evaluate-asc-plus", 1, True),
        ("pseudo-label", 1, True),
        ("synthesise", 1, True),
        ("refine", 1, True),
        ("evaluate-diffuse-uda", 1, True),
    ]


def test_a_study_goes_on_after_a_phase_it_has() -> None:
    labels = [step.phase.label for step in steps(METHOD, after="evaluate-asc-plus")]
    assert labels == ["pseudo-label", "synthesise", "refine", "evaluate-diffuse-uda"]
    assert list(steps(METHOD, after="evaluate-diffuse-uda")) == []
    with pytest.raises(ConfigError, match=r"has no phase 'refine-2' to start after; it has \['warm-up'"):
        list(steps(METHOD, after="refine-2"))


def test_the_source_is_first_and_targets_follow_by_name_whoever_joined_first() -> None:
    assert ordered_sites([TARGET_B, TARGET_A, SOURCE]) == SITES
    assert ordered_sites([SOURCE, TARGET_A, TARGET_B]) == SITES


def test_only_roles_with_a_task_are_asked() -> None:
    assert assignments(_step(PhaseName.WARM_UP).phase, SITES) == {"source": Task.WARM_UP}
    assert assignments(_step(PhaseName.ADAPT).phase, SITES) == {
        "source": Task.ADAPT_SOURCE,
        "target-a": Task.ADAPT_TARGET,
        "target-b": Task.ADAPT_TARGET,
    }
    assert list(assignments(_step(PhaseName.PSEUDO_LABEL).phase, SITES)) == ["target-a", "target-b"]


def test_an_evaluation_asks_sites_with_labelled_test_cases_only() -> None:
    sites = (SOURCE, TARGET_A, replace(TARGET_B, num_test_cases=0))
    assert list(assignments(_step(PhaseName.EVALUATE).phase, sites)) == ["target-a"]


def test_an_order_holds_the_domains_in_order_and_the_source_s_labels() -> None:
    block = torch.ones(2)
    step = _step(PhaseName.ADAPT)
    order = work_order(step, Task.ADAPT_TARGET, (SOURCE, replace(TARGET_A, style_block=block), TARGET_B))
    assert (order.phase, order.server_round, order.num_rounds, order.row) == ("adapt", 1, 2, "")
    assert order.domains == ("source", "target-a", "target-b")
    assert order.label_names == ("background", "ball")
    assert order.style_blocks == {"target-a": block}


FIVE = (SOURCE, *(replace(TARGET_A, site_id=f"t{index}") for index in range(5)))
NAMES = [card.site_id for card in FIVE]


@pytest.mark.parametrize(
    ("quorum", "used", "is_enough"),
    [
        (0.5, ["source", "t0", "t1", "t2"], True),  # ceil(2.5) = 3 of 5
        (0.5, ["source", "t0", "t1"], False),
        (0.5, ["t0", "t1", "t2", "t3", "t4"], False),
        (0.1, ["source", "t4"], True),
        (0.1, ["source"], False),
        (1.0, NAMES, True),
        (1.0, NAMES[:-1], False),
    ],
)
def test_the_source_and_a_share_of_the_targets_rounded_up_must_reply(
    quorum: float, used: list[str], *, is_enough: bool
) -> None:
    step = _step(PhaseName.ADAPT)
    if is_enough:
        require_quorum(step, FIVE, asked=NAMES, used=used, quorum=quorum)
        return
    with pytest.raises(QuorumError, match=r"phase adapt, round 1 of 2: no usable reply from \['"):
        require_quorum(step, FIVE, asked=NAMES, used=used, quorum=quorum)


def test_only_asked_sites_count() -> None:
    require_quorum(_step(PhaseName.WARM_UP), FIVE, asked=["source"], used=["source"], quorum=1.0)
    require_quorum(_step(PhaseName.PSEUDO_LABEL), FIVE, asked=NAMES[1:], used=NAMES[1:4], quorum=0.5)
    with pytest.raises(QuorumError, match=r"reply from \['source'\]"):
        require_quorum(_step(PhaseName.WARM_UP), FIVE, asked=["source"], used=[], quorum=0.5)


def test_a_missing_score_stops_nothing() -> None:
    require_quorum(_step(PhaseName.EVALUATE), FIVE, asked=NAMES, used=[], quorum=1.0)


def test_a_good_federation_is_put_in_order() -> None:
    assert require_membership([TARGET_B, SOURCE, TARGET_A], CONFIG) == SITES
    same_map = replace(TARGET_A, label_names=SOURCE.label_names)
    assert require_membership([SOURCE, same_map], CONFIG) == (SOURCE, same_map)


@pytest.mark.parametrize(
    ("cards", "error", "wrong"),
    [
        ([TARGET_A, TARGET_B], QuorumError, r"no source joined, only the targets \['target-a', 'target-b'\]"),
        ([SOURCE, replace(SOURCE, site_id="other"), TARGET_A], ConfigError, r"found 2 sources \['other', 'source'\]"),
        ([SOURCE, TARGET_A, TARGET_A], ConfigError, "call themselves the same"),
        ([SOURCE], QuorumError, "found 0 targets"),
        ([SOURCE, replace(TARGET_A, num_cases=0)], ConfigError, "'target-a' has 0 training cases"),
        (
            [SOURCE, replace(TARGET_A, num_cases=10**18)],
            ConfigError,
            r"1000000000000000000 training .* 1 to 1,000,000,000",
        ),
        ([SOURCE, replace(TARGET_A, site_id="../../etc")], ConfigError, r"calls itself '\.\./\.\./etc'"),
        ([replace(SOURCE, label_names=("background",)), TARGET_A], ConfigError, "names the labels"),
        ([replace(SOURCE, label_names=()), TARGET_A], ConfigError, "names the labels"),
        ([SOURCE, replace(TARGET_A, label_names=("background", "cube"))], ConfigError, "'target-a' has the label map"),
        ([SOURCE, replace(TARGET_A, label_names=("ball", "background"))], ConfigError, "same names in the same order"),
    ],
)
def test_a_federation_that_cannot_work_is_refused(cards: list[object], error: type[Exception], wrong: str) -> None:
    with pytest.raises(error, match=wrong):
        require_membership(cards, CONFIG)  # type: ignore[arg-type]


def test_the_study_says_how_many_targets_it_needs_and_how_many_sites_fit() -> None:
    three = CONFIG.model_copy(update={"federation": FederationConfig(min_targets=3)})
    with pytest.raises(QuorumError, match=r"found 2 targets .* at least 3"):
        require_membership(SITES, three)
    narrow = CONFIG.model_copy(update={"denoiser": DenoiserConfig(max_domains=2)})
    with pytest.raises(ConfigError, match=r"3 sites joined; denoiser\.max-domains = 2"):
        require_membership(SITES, narrow)


def test_every_phase_that_exchanges_weights_has_a_budget() -> None:
    assert fit_config(CONFIG, _step(PhaseName.ADAPT).phase) is CONFIG.adapt
    assert fit_config(CONFIG, _step(PhaseName.REFINE).phase) is CONFIG.refine
    with pytest.raises(ConfigError, match="no budget"):
        fit_config(CONFIG, _step(PhaseName.EVALUATE).phase)


def test_a_phase_for_one_target_asks_the_source_and_that_one_and_says_so_in_the_order() -> None:
    method = build_method(CONFIG, num_targets=2)
    second = next(phase for phase in method.phases if phase.label == "refine-for-2")
    assert assignments(second, SITES) == {"source": Task.REFINE_SOURCE, "target-b": Task.REFINE_TARGET}
    order = work_order(Step(phase=second, server_round=1), Task.REFINE_SOURCE, SITES)
    assert (order.phase, order.partner, order.num_participants) == ("refine-for-2", 2, 2)
    assert work_order(_step(PhaseName.ADAPT), Task.ADAPT_SOURCE, SITES).partner is None
