"""Whatever a server may think of, a site works for its own study, on its own architecture, once a round."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from client.order_gate import admitted, check_order_bytes, check_plan
from client.run_book import RunBook
from client.site import Site, open_site
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange.envelopes import MOST_FALL_BACKS, VERSION, Envelope
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.exchange.plan import forms_of, model_forms, plan_hash
from diffuse_uda.exchange.site_policy import NOTHING_NARROWED, SitePolicy
from diffuse_uda.methods.phase import Task
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName, Scalar, StateDict
from tests import tiny_site

FLAT: dict[str, Scalar] = {"warm-up.num-rounds": 2, "adapt.num-rounds": 3, "num-passes": 1}
CONFIG = tiny_site.tiny_config(FLAT)
ENVELOPE = Envelope(run="r1", plan=plan_hash(CONFIG))
BOOK = RunBook(plan=ENVELOPE.plan)
LABELS = tiny_site.LABEL_NAMES
# The plan: warm-up 1 and 2, an evaluation 3, adapt 4 to 6, an evaluation 7, pseudo-label 8.
ORDER = WorkOrder(
    task=Task.ADAPT_TARGET,
    phase="adapt",
    server_round=2,
    num_rounds=3,
    pass_index=0,
    row="",
    domains=("source", "leeds", "turin"),
    label_names=LABELS,
    num_participants=3,
    number=5,
)


@pytest.fixture(scope="module")
def weights() -> StateDict:
    return initial_weights(CONFIG, ModelName.SEGMENTER, len(LABELS))


def _site(role: str = "target", site_id: str = "leeds") -> Site:
    return open_site({"site-id": site_id, "role": role, "data-dir": "/d", "workspace": "/w"})


def _admit(
    received: StateDict,
    order: WorkOrder = ORDER,
    *,
    book: RunBook | None = BOOK,
    envelope: Envelope = ENVELOPE,
    base: str = "b1",
    site: Site | None = None,
    config: StudyConfig = CONFIG,
    policy: SitePolicy = NOTHING_NARROWED,
) -> RunBook:
    return admitted(book, envelope, order, received, base, site=site or _site(), config=config, policy=policy)


def _refused(*arguments: Any, **named: Any) -> tuple[str, ...]:
    with pytest.raises(RefusalError, match="order refused") as caught:
        _admit(*arguments, **named)
    return caught.value.rules


def test_the_next_order_of_the_plan_is_admitted_and_remembered(weights: StateDict) -> None:
    assert _admit(weights) == replace(BOOK, domains=ORDER.domains, label_names=LABELS, bases={"5": "b1"})


def test_rounds_go_forward_and_some_may_be_missed(weights: StateDict) -> None:
    book = _admit(weights)
    book = _admit(weights, replace(ORDER, server_round=3, number=6), book=book, base="b2")
    assert book.bases == {"5": "b1", "6": "b2"}
    later = replace(ORDER, task=Task.PSEUDO_LABEL, phase="pseudo-label", server_round=1, num_rounds=1, number=8)
    assert _admit(weights, later, book=book, base="b9").bases["8"] == "b9"


def test_the_same_order_again_is_no_replay(weights: StateDict) -> None:
    book = _admit(weights, replace(ORDER, server_round=3, number=6), book=_admit(weights), base="b2")
    assert _admit(weights, book=book) == book


def test_other_weights_for_a_round_that_was_answered_are_a_replay(weights: StateDict) -> None:
    book = _admit(weights)
    assert _refused(weights, book=book, base="b2") == ("replayed-round",)


def test_an_earlier_round_that_never_came_is_a_replay(weights: StateDict) -> None:
    book = _admit(weights)
    assert _refused(weights, replace(ORDER, server_round=1, number=4), book=book) == ("replayed-round",)


@pytest.mark.fault("R-18")
def test_a_coordinator_that_went_back_is_answered_anew_from_there_on(weights: StateDict) -> None:
    """It repeats round 5, and another site takes part this time: so round 6 comes with other weights than before."""
    last = replace(ORDER, server_round=3, number=6)
    book = _admit(weights, last, book=_admit(weights), base="b2")
    gone_back = replace(ENVELOPE, fall_backs=1)
    book = _admit(weights, book=book, envelope=gone_back)
    assert (book.bases, book.fall_backs) == ({"5": "b1"}, 1)
    book = _admit(weights, last, book=book, envelope=gone_back, base="b3")
    assert book.bases == {"5": "b1", "6": "b3"}
    # Going back once buys one answer a round, and an order from before is a replay from then on.
    assert _refused(weights, last, book=book, envelope=gone_back, base="b4") == ("replayed-round",)
    assert _refused(weights, last, book=book, base="b3") == ("replayed-round",)


def test_a_site_that_was_away_goes_back_with_the_coordinator_too(weights: StateDict) -> None:
    # It had missed round 4, which is done again.
    gone_back = replace(ENVELOPE, fall_backs=1)
    book = _admit(weights, replace(ORDER, server_round=1, number=4), book=_admit(weights), envelope=gone_back)
    assert book.bases == {"4": "b1"}


@pytest.mark.parametrize("fall_backs", [-1, MOST_FALL_BACKS + 1, 10**9])
def test_nobody_goes_back_as_often_as_he_likes(weights: StateDict, fall_backs: int) -> None:
    envelope = replace(ENVELOPE, fall_backs=fall_backs)
    assert _refused(weights, book=_admit(weights), envelope=envelope, base="b2")[0] == "replayed-round"
    assert _admit(weights, book=_admit(weights), envelope=replace(ENVELOPE, fall_backs=MOST_FALL_BACKS), base="b2")


@pytest.mark.fault("R-17")
def test_server_and_site_are_of_one_version(weights: StateDict) -> None:
    with pytest.raises(
        RefusalError, match=rf"the server is of version 0\.0\.9, this site of {re.escape(VERSION)}"
    ) as caught:
        check_plan(None, replace(ENVELOPE, version="0.0.9"), CONFIG, NOTHING_NARROWED)
    assert caught.value.rules == ("wrong-version",)
    assert _refused(weights, envelope=replace(ENVELOPE, version="0.0.9")) == ("wrong-version",)


def test_a_run_that_the_site_never_joined_is_refused(weights: StateDict) -> None:
    assert _refused(weights, book=None) == ("unknown-run",)


@pytest.mark.parametrize(
    "change",
    [
        {"server_round": 0, "number": 3},
        {"server_round": 4, "number": 7},
        {"num_rounds": 1000},
        {"pass_index": 1},
        {"partner": 1},
        {"row": "asc-plus"},
        {"number": 6},
    ],
    ids=str,
)
def test_an_order_that_is_not_in_the_plan_is_refused(weights: StateDict, change: dict[str, Any]) -> None:
    assert "wrong-plan" in _refused(weights, replace(ORDER, **change))


def test_a_phase_that_the_method_has_not_is_refused(weights: StateDict) -> None:
    assert _refused(weights, replace(ORDER, phase="spy")) == ("unknown-phase",)


def test_a_target_works_in_its_own_phase_and_not_in_another_target_s(weights: StateDict) -> None:
    refine = replace(
        ORDER,
        task=Task.REFINE_TARGET,
        phase="refine-for-1",
        server_round=1,
        num_rounds=CONFIG.refine.num_rounds,
        partner=1,
        number=0,
    )
    _admit(weights, refine)
    assert _refused(weights, refine, site=_site(site_id="turin")) == ("wrong-plan",)
    _admit(weights, replace(refine, task=Task.REFINE_SOURCE), site=_site("source", "source"))


def test_another_study_is_refused(weights: StateDict) -> None:
    other = Envelope(run="r1", plan="0" * 64)
    assert _refused(weights, envelope=other) == ("wrong-plan",)
    changed = tiny_site.tiny_config({**FLAT, "seed": 5})
    assert _refused(weights, envelope=Envelope(run="r1", plan=plan_hash(changed)), config=changed) == ("wrong-plan",)
    check_plan(None, ENVELOPE, CONFIG, NOTHING_NARROWED)
    with pytest.raises(RefusalError, match="the server's study has the hash 000"):
        check_plan(None, other, CONFIG, NOTHING_NARROWED)


def test_patience_and_name_are_no_part_of_a_plan_and_steps_are() -> None:
    assert plan_hash(tiny_site.tiny_config({**FLAT, "federation.quorum": 0.9, "name": "x"})) == ENVELOPE.plan
    for key, value in {"seed": 1, "adapt.num-local-steps": 3, "exchange.min-cases-for-statistics": 2}.items():
        assert plan_hash(tiny_site.tiny_config({**FLAT, key: value})) != ENVELOPE.plan


def test_a_study_that_the_hospital_has_not_approved_is_refused(weights: StateDict) -> None:
    _admit(weights, policy=SitePolicy(plans=frozenset({ENVELOPE.plan})))
    assert _refused(weights, policy=SitePolicy(plans=frozenset({"0" * 64}))) == ("plan-not-approved",)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"domains": ("source", "turin")}, "wrong-sites"),
        ({"domains": ("source", "leeds", "leeds")}, "wrong-sites"),
        ({"domains": ("leeds", "source")}, "wrong-sites"),
        ({"domains": ("leeds",)}, "wrong-sites"),
        ({"domains": ("source", "leeds", *(f"t{n}" for n in range(20)))}, "wrong-sites"),
        ({"num_participants": 4}, "wrong-sites"),
        ({"num_participants": 0}, "wrong-sites"),
        ({"label_names": ("background",)}, "wrong-labels"),
        ({"domains": ("source", "leeds", "../leeds")}, "wrong-sites"),
        ({"domains": ("source", "leeds", "a\nline of the log")}, "wrong-sites"),
        ({"label_names": tuple(f"x{n}" for n in range(257))}, "wrong-labels"),
        ({"label_names": ("background", "ball", "ball")}, "wrong-labels"),
        ({"label_names": ("background", "a\nline of the log")}, "wrong-labels"),
    ],
)
def test_sites_and_labels_have_to_make_sense(weights: StateDict, change: dict[str, Any], rule: str) -> None:
    assert _refused(weights, replace(ORDER, **change)) == (rule,)


def test_sites_and_labels_stay_the_same_in_a_run(weights: StateDict) -> None:
    book = _admit(weights)
    following = replace(ORDER, server_round=3, number=6)
    assert _refused(weights, replace(following, domains=("source", "leeds", "riga")), book=book) == ("wrong-sites",)
    renamed = replace(following, label_names=("background", *reversed(LABELS[1:])))
    assert _refused(weights, renamed, book=book) == ("wrong-labels",)
    own_labels = replace(BOOK, label_names=("background", "tumour"))
    assert _refused(weights, book=own_labels) == ("wrong-labels",)


def _swapped_architecture() -> StateDict:
    config = tiny_site.tiny_config({**FLAT, "segmenter.channels": "[8, 16]"})
    return initial_weights(config, ModelName.SEGMENTER, len(LABELS))


def _named(weights: StateDict) -> str:
    return next(name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.ndim > 1)


def _with(weights: StateDict, value: float) -> StateDict:
    tensor = weights[_named(weights)].clone()
    tensor.view(-1)[0] = value
    return {**weights, _named(weights): tensor}


def test_another_architecture_is_refused_by_layer(weights: StateDict) -> None:
    assert set(_refused(_swapped_architecture())) == {"layer-form"}
    denoiser = initial_weights(CONFIG, ModelName.DENOISER, len(LABELS))
    assert {"unknown-layer", "missing-layer"} <= set(_refused(denoiser))
    assert _refused({**weights, "trap.weight": torch.ones(3)}) == ("unknown-layer",)
    assert _refused({key: value for key, value in weights.items() if key != _named(weights)}) == ("missing-layer",)
    assert _refused({**weights, _named(weights): weights[_named(weights)].double()}) == ("layer-form",)
    assert _refused({**weights, _named(weights): torch.ones(300, 300)}) == ("layer-form",)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (math.nan, "weights-not-finite"),
        (math.inf, "weights-not-finite"),
        (-math.inf, "weights-not-finite"),
        (2e6, "weights-too-large"),
        (-2e6, "weights-too-large"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(weights: StateDict, value: float, rule: str) -> None:
    assert _refused(_with(weights, value)) == (rule,)
    _admit(_with(weights, 9e5))


def test_a_letter_may_be_too_large_to_be_opened() -> None:
    check_order_bytes(2_000_000_000, CONFIG, NOTHING_NARROWED)
    check_order_bytes(100, CONFIG, SitePolicy(max_message_bytes=100))
    for size, policy in ((2_000_000_001, NOTHING_NARROWED), (101, SitePolicy(max_message_bytes=100))):
        with pytest.raises(RefusalError, match=f"{size} bytes came") as caught:
            check_order_bytes(size, CONFIG, policy)
        assert caught.value.rules == ("order-bytes",)


@pytest.mark.parametrize(
    ("blocks", "allowed", "rules"),
    [
        ({"turin": torch.ones(2)}, True, ()),
        ({"turin": torch.ones(2)}, False, ("style-block",)),
        ({"riga": torch.ones(2)}, True, ("style-block",)),
        ({"turin": torch.full((2,), math.nan)}, True, ("style-block",)),
        ({"turin": torch.ones(205)}, True, ("style-block",)),  # 5 % of 16 x 16 x 16 voxels are 204
        ({"turin": torch.ones(2, dtype=torch.int64)}, True, ("style-block",)),
    ],
)
def test_style_blocks_are_looked_at_too(
    blocks: StateDict, rules: tuple[str, ...], *, allowed: bool, weights: StateDict
) -> None:
    config = tiny_site.tiny_config({**FLAT, "exchange.allow-style-blocks": allowed})
    named = {"config": config, "envelope": Envelope(run="r1", plan=plan_hash(config))}
    named["book"] = replace(BOOK, plan=plan_hash(config))
    order = replace(ORDER, style_blocks=blocks)
    if rules:
        assert _refused(weights, order, **named) == rules
    else:
        _admit(weights, order, **named)  # type: ignore[arg-type]


def test_forms_are_worked_out_without_any_numbers(weights: StateDict) -> None:
    before = torch.get_rng_state()
    model_forms.cache_clear()
    assert model_forms(CONFIG, ModelName.SEGMENTER, len(LABELS)) == forms_of(weights)
    assert torch.equal(torch.get_rng_state(), before)
