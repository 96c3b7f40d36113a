"""What is not on the list stays at the site."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffuse_uda.config import ExchangeConfig, StudyConfig
from diffuse_uda.data.fingerprint import Fingerprint
from diffuse_uda.errors import ExchangeError, RefusalError
from diffuse_uda.exchange.card_policy import check_card
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.exchange.policy import WITHHELD, EgressPolicy, describe_policy, reply_policy
from diffuse_uda.exchange.site_policy import NOTHING_NARROWED, SitePolicy
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import ModelName, SiteRole
from tests.fake_federation import SOURCE, TARGET_A, order_for

CONFIG = StudyConfig()
ASKED = StudyConfig.from_flat({"exchange.allow-fingerprints": True})
PRINT = Fingerprint(spacing_mm=(1, 1, 1), extent_mm=(9, 9, 9), lowest=0.0, highest=1.0, memory_gib=1.0)
RECEIVED = {"w": torch.zeros(2, 3), "n": torch.tensor(4)}
POLICY = reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.ADAPT_TARGET, "adapt"), RECEIVED)
LOCAL = reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.PSEUDO_LABEL, "pseudo-label"), RECEIVED)
GOOD = SiteReply(num_examples=3, weights={"w": torch.ones(2, 3), "n": torch.tensor(5)}, metrics={"loss": 0.5})


def _refused(reply: SiteReply, *, policy: object = POLICY) -> str:
    with pytest.raises(ExchangeError) as caught:
        policy.check(reply)  # type: ignore[attr-defined]
    return str(caught.value)


def test_the_trained_model_and_a_loss_may_leave() -> None:
    POLICY.check(GOOD)
    POLICY.check(replace(GOOD, metrics={"loss": 1, "loss/consistency": np.float64(0.5), "seconds": 3.0}))


def test_a_phase_that_exchanges_nothing_lets_no_weights_out() -> None:
    LOCAL.check(replace(GOOD, weights=None))
    assert "'n', 'w'" in _refused(GOOD, policy=LOCAL)


def test_an_extra_tensor_stays() -> None:
    image = torch.rand(40, 48, 40)
    said = _refused(replace(GOOD, weights={**GOOD.weights, "DOE_JANE": image}))  # type: ignore[dict-item]
    assert said == ("not allowed to leave the site: tensors ['DOE_JANE'], which are not part of the received model")


def test_half_a_model_stays() -> None:
    assert "without ['n']" in _refused(replace(GOOD, weights={"w": torch.ones(2, 3)}))


@pytest.mark.parametrize(
    "planted",
    [torch.ones(3, 2), torch.rand(40, 48, 40), torch.ones(2, 3, dtype=torch.float64), "DOE_JANE"],
    ids=["shape", "image", "dtype", "text"],
)
def test_another_shape_or_dtype_under_a_good_name_stays(planted: torch.Tensor) -> None:
    said = _refused(replace(GOOD, weights={"w": planted, "n": torch.tensor(5)}))
    assert "'w' in another shape or dtype than (2, 3), torch.float32" in said
    assert "JANE" not in said


def test_diverged_weights_stay() -> None:
    weights = {"w": torch.full((2, 3), math.nan), "n": torch.tensor(5)}
    assert "'w' with values that are not finite" in _refused(replace(GOOD, weights=weights))


@pytest.mark.parametrize("key", ["DOE_JANE", "loss/DOE_JANE", "dice/DOE_JANE", "Loss", "dice/", "loss/ball"])
def test_a_scalar_of_another_name_stays(key: str) -> None:
    assert f"scalars ['{key}'], which are not on the list" in _refused(replace(GOOD, metrics={key: 1.0}))


@pytest.mark.parametrize("value", ["DOE_JANE", math.inf, math.nan, True, [1.0]])
def test_a_value_that_is_no_finite_number_stays(value: float) -> None:
    said = _refused(replace(GOOD, metrics={"loss": value}))
    assert said == "not allowed to leave the site: scalars ['loss'], which are no finite numbers"


@pytest.mark.parametrize("count", [-1, 2.5, True, "DOE_JANE", 0x446F654A616E65])
def test_a_count_is_a_whole_number(count: int) -> None:
    assert _refused(replace(GOOD, num_examples=count)) == (
        "not allowed to leave the site: num-examples, which is no count"
    )


def test_all_problems_are_named_at_once_and_long_lists_are_cut() -> None:
    foreign = {f"x{index}": 1.0 for index in range(7)}
    said = _refused(replace(GOOD, weights={}, num_examples=-1, metrics=foreign))
    assert "['x0', 'x1', 'x2', 'x3', 'x4', ... 7 in all]" in said
    assert "num-examples" in said


def test_the_number_of_scalars_is_bounded() -> None:
    labels = tuple(f"l{index}" for index in range(3000))
    order = replace(order_for(Task.ADAPT_TARGET, "adapt"), label_names=labels)
    policy = reply_policy(CONFIG, SiteRole.TARGET, order, RECEIVED)
    reply = replace(GOOD, metrics={f"dice/{label}": 0.5 for label in labels})
    assert "3000 scalars, allowed are 2048" in _refused(reply, policy=policy)


def test_a_message_has_a_largest_size() -> None:
    config = StudyConfig(exchange=ExchangeConfig(max_message_bytes=31))  # 6 floats and one int64 are 32 bytes
    policy = reply_policy(config, SiteRole.TARGET, order_for(Task.ADAPT_TARGET, "adapt"), RECEIVED)
    assert "weights of 32 bytes, allowed are 31" in _refused(GOOD, policy=policy)


def test_scores_over_two_cases_stay_and_over_three_leave() -> None:
    scores = {"dice": 0.8, "hd95-mm/ball": 3.0, "undefined/ball": 1.0, "loss": 0.1}
    reply = SiteReply(num_examples=3, metrics=scores)
    LOCAL.check(reply)
    assert LOCAL.withhold(reply) == reply
    few = replace(reply, num_examples=2)
    assert "scores ['dice', 'hd95-mm/ball', 'undefined/ball'] over fewer than 3 cases" in _refused(few, policy=LOCAL)
    kept = LOCAL.withhold(few)
    assert kept.metrics == {"loss": 0.1, "withheld-scores": 3.0}
    LOCAL.check(kept)


def test_a_loss_over_two_cases_may_leave_and_how_sure_the_labels_are_may_not() -> None:
    few = SiteReply(num_examples=2, metrics={"loss": 0.1, "confidence": 0.9})
    assert LOCAL.withhold(few).metrics == {"loss": 0.1, "withheld-scores": 1.0}
    assert "['confidence'] over fewer than 3 cases" in _refused(few, policy=LOCAL)


def test_scalars_leave_with_four_digits() -> None:
    """A float has 53 bits: enough for seven letters of a name, and for a mean that gives away who was averaged."""
    smuggled = float.fromhex("0x1.446f652d4a616ep-1")  # "Doe-Jan" in the digits of a loss
    reply = SiteReply(
        num_examples=3, metrics={"loss": smuggled, "dice": 2 / 3, "hd95-mm": 12.34567, "seconds": 98765.4}
    )
    left = LOCAL.withhold(reply)
    assert left.metrics == {"loss": 0.6337, "dice": 0.6667, "hd95-mm": 12.35, "seconds": 98_770.0}
    LOCAL.check(left)
    assert "scalars ['dice', 'hd95-mm', 'loss', 'seconds'] of more than 4 significant digits" in _refused(
        reply, policy=LOCAL
    )
    tiny = SiteReply(num_examples=3, metrics={"loss": 5e-324, "dice": -0.0, "pairs": 12})
    assert LOCAL.withhold(tiny).metrics == {"loss": 5e-324, "dice": 0.0, "pairs": 12.0}


def test_an_order_the_method_does_not_contain_is_refused() -> None:
    with pytest.raises(ExchangeError, match="no such phase"):
        reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.ADAPT_TARGET, "spy"), RECEIVED)
    with pytest.raises(ExchangeError, match="in phase 'adapt' a target is not asked to 'adapt_source'"):
        reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.ADAPT_SOURCE, "adapt"), RECEIVED)
    with pytest.raises(ExchangeError, match="in phase 'warm-up' a target is not asked"):
        reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.WARM_UP, "warm-up"), RECEIVED)


STYLED = CONFIG.model_copy(update={"exchange": ExchangeConfig(allow_style_blocks=True)})


def test_a_card_of_names_and_counts_may_leave() -> None:
    check_card(SOURCE, CONFIG, site_allows_style=False)
    check_card(replace(TARGET_A, num_cases=3, style_block=torch.ones(13, 13, 7)), STYLED, site_allows_style=True)


@pytest.mark.parametrize(
    ("card", "wrong"),
    [
        (replace(SOURCE, site_id="Jane Doe, born 1970"), "site-id"),
        (replace(SOURCE, site_id=""), "site-id"),
        (replace(SOURCE, label_names=("background", "Doe^Jane")), "label-names"),
        (replace(SOURCE, label_names=("x",) * 257), "label-names"),
        (replace(SOURCE, num_cases=-1), "num-cases"),
        (replace(SOURCE, num_test_cases=cast("int", "5")), "num-test-cases"),
        (replace(TARGET_A, style_block=torch.ones(40, 48, 40)), "has 76800 values, allowed are 3840"),
        (replace(TARGET_A, style_block=torch.full((2,), math.nan)), "not finite"),
        (replace(TARGET_A, style_block=torch.ones(2, dtype=torch.int64)), "not finite"),
    ],
)
def test_a_card_that_says_more_stays(card: object, wrong: str) -> None:
    with pytest.raises(ExchangeError, match=wrong) as caught:
        check_card(card, STYLED, site_allows_style=True)  # type: ignore[arg-type]
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(("study", "site"), [(STYLED, False), (CONFIG, True)])
def test_a_style_block_needs_the_word_of_study_and_site(study: StudyConfig, site: bool) -> None:  # noqa: FBT001
    with pytest.raises(ExchangeError, match="study and site must both allow it"):
        check_card(replace(TARGET_A, style_block=torch.ones(2)), study, site_allows_style=site)


def test_the_list_can_be_read() -> None:
    tensors, scalars = describe_policy(CONFIG, 3)
    assert set(tensors) == {"segmenter", "denoiser"}
    assert all(len(names) > 10 for names in tensors.values())
    assert "loss" in scalars
    assert "dice/<label>" in scalars
    tensors, _ = describe_policy(StudyConfig(method="asc"), 3)
    assert set(tensors) == {"segmenter"}


def test_a_style_block_over_two_cases_stays() -> None:
    with pytest.raises(RefusalError, match="style-block over fewer than 3 cases") as caught:
        check_card(replace(TARGET_A, num_cases=2, style_block=torch.ones(2)), STYLED, site_allows_style=True)
    assert caught.value.rules == ("small-group",)


def test_the_sites_word_forbids_a_style_block_and_asks_for_more_cases() -> None:
    card = replace(TARGET_A, num_cases=4, style_block=torch.ones(2))
    for policy, rule in ((SitePolicy(allow_style_blocks=False), "style-block"), (FIVE_CASES, "small-group")):
        with pytest.raises(RefusalError) as caught:
            check_card(card, STYLED, site_allows_style=True, site=policy)
        assert caught.value.rules == (rule,)


FIVE_CASES = SitePolicy(min_cases_for_statistics=5)
TABLE = {"class_table.rows": torch.zeros(2, 3), "conv": torch.zeros(2)}


def _diffusing(site: SitePolicy = NOTHING_NARROWED) -> EgressPolicy:
    return reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.DIFFUSE, "diffuse"), TABLE, site)


def test_rows_of_the_class_table_over_two_cases_go_back_as_they_came() -> None:
    trained = {"class_table.rows": torch.ones(2, 3), "conv": torch.ones(2)}
    policy = _diffusing()
    few = SiteReply(num_examples=2, weights=trained)
    with pytest.raises(RefusalError, match=r"rows \['class_table.rows'\] over fewer than 3 cases"):
        policy.check(few)
    kept = policy.withhold(few)
    assert kept.weights is not None
    assert kept.weights["class_table.rows"].tolist() == [[0.0] * 3] * 2
    assert kept.weights["conv"].tolist() == [1.0, 1.0]
    assert kept.metrics == {"withheld-rows": 1.0}
    policy.check(kept)
    enough = replace(few, num_examples=3)
    left = policy.withhold(enough)
    assert left.metrics == {}
    assert left.weights is trained
    assert _diffusing(FIVE_CASES).withhold(enough).metrics == {"withheld-rows": 1.0}


def test_that_rows_are_withheld_is_said_even_if_nobody_tried_to_tell_them() -> None:
    untouched = SiteReply(num_examples=2, weights=TABLE)
    assert _diffusing().withhold(untouched).metrics == {"withheld-rows": 1.0}
    assert LOCAL.withhold(SiteReply(num_examples=2)).metrics == {}  # nothing to withhold where nothing is exchanged


def test_a_task_reads_how_many_cases_study_and_site_both_want() -> None:
    for policy, wanted in ((_diffusing(), 3), (_diffusing(FIVE_CASES), 5)):
        narrowed = policy.narrowed(CONFIG)
        assert narrowed.exchange.min_cases_for_statistics == wanted
        assert narrowed.model_copy(update={"exchange": CONFIG.exchange}) == CONFIG


def test_rules_that_are_broken_are_told_apart() -> None:
    with pytest.raises(RefusalError) as caught:
        POLICY.check(replace(GOOD, weights={"x": torch.zeros(1)}, metrics={"y": math.inf}, num_examples=-1))
    assert caught.value.rules == ("foreign-tensor", "missing-tensor", "foreign-scalar", "no-number", "no-count")


def test_the_sites_list_of_scalars_leaves_others_out() -> None:
    site = SitePolicy(scalars=frozenset({"loss", "dice/*"}), max_scalars=3)
    policy = reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.PSEUDO_LABEL, "pseudo-label"), RECEIVED, site)
    reply = SiteReply(num_examples=3, metrics={"loss": 0.1, "dice": 0.5, "dice/ball": 0.5, "seconds": 2.0})
    with pytest.raises(RefusalError, match=r"\['dice', 'seconds'\], which this site's policy does not list"):
        policy.check(reply)
    kept = policy.withhold(reply)
    assert kept.metrics == {"loss": 0.1, "dice/ball": 0.5, "withheld-scalars": 2.0}
    policy.check(kept)
    with pytest.raises(RefusalError, match="4 scalars, allowed are 3"):
        policy.check(replace(kept, metrics={**kept.metrics, "loss/supervised": 1.0}))


def test_a_foreign_scalar_is_refused_and_never_only_left_out() -> None:
    site = SitePolicy(scalars=frozenset({"loss"}))
    policy = reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.PSEUDO_LABEL, "pseudo-label"), RECEIVED, site)
    for num_examples in (3, 2):
        for key in ("DOE_JANE", "dice/DOE_JANE"):
            reply = SiteReply(num_examples=num_examples, metrics={key: 1.0})
            assert policy.withhold(reply) == reply
            with pytest.raises(RefusalError, match=key):
                policy.check(reply)


@pytest.mark.parametrize(
    ("site", "rule"),
    [
        (SitePolicy(tasks=frozenset({Task.EVALUATE})), "site-task"),
        (SitePolicy(models=frozenset({ModelName.DENOISER})), "site-model"),
    ],
)
def test_the_site_refuses_tasks_and_models_before_it_works(site: SitePolicy, rule: str) -> None:
    with pytest.raises(RefusalError) as caught:
        reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.ADAPT_TARGET, "adapt"), RECEIVED, site)
    assert caught.value.rules == (rule,)


def test_a_phase_without_weights_needs_no_model_on_the_sites_list() -> None:
    site = SitePolicy(models=frozenset())
    order = order_for(Task.PSEUDO_LABEL, "pseudo-label")
    assert reply_policy(CONFIG, SiteRole.TARGET, order, RECEIVED, site).tensors == {}


def test_a_dtype_that_is_not_on_the_sites_list_stays() -> None:
    site = SitePolicy(dtypes=frozenset({"float32"}))
    policy = reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.ADAPT_TARGET, "adapt"), RECEIVED, site)
    assert "'n' of dtype int64, which this site's policy does not list" in _refused(GOOD, policy=policy)


def test_a_message_and_a_run_have_budgets() -> None:
    site = SitePolicy(max_message_bytes=100, max_run_bytes=250)
    policy = reply_policy(CONFIG, SiteRole.TARGET, order_for(Task.ADAPT_TARGET, "adapt"), RECEIVED, site)
    policy.check_bytes(100, sent_before=150)
    for size, before, rules in ((101, 0, ("message-bytes",)), (100, 151, ("run-bytes",))):
        with pytest.raises(RefusalError) as caught:
            policy.check_bytes(size, sent_before=before)
        assert caught.value.rules == rules


def test_a_site_cannot_widen_what_the_study_allows() -> None:
    wide = SitePolicy(max_message_bytes=10**15, max_run_bytes=10**15, max_scalars=10**6, min_cases_for_statistics=1)
    order = order_for(Task.ADAPT_TARGET, "adapt")
    assert replace(reply_policy(CONFIG, SiteRole.TARGET, order, RECEIVED, wide), site=NOTHING_NARROWED) == POLICY


limits = st.none() | st.integers(1, 40)
site_policies = st.builds(
    SitePolicy,
    max_message_bytes=limits,
    max_run_bytes=limits,
    max_scalars=limits,
    min_cases_for_statistics=limits,
    scalars=st.none() | st.frozensets(st.sampled_from(["loss", "dice", "dice/*", "seconds", "DOE_JANE"])),
    dtypes=st.none() | st.frozensets(st.sampled_from(["float32", "int64"])),
)
replies = st.builds(
    SiteReply,
    num_examples=st.integers(-1, 6),
    metrics=st.dictionaries(
        st.sampled_from(["loss", "dice", "dice/ball", "dice/DOE_JANE", "seconds", "DOE_JANE"]),
        st.sampled_from([0.5, 1.0, math.nan, True]),
    ),
    weights=st.none()
    | st.dictionaries(
        st.sampled_from(["w", "n", "DOE_JANE"]),
        st.sampled_from([torch.ones(2, 3), torch.tensor(5), torch.rand(9, 9), torch.full((2, 3), math.inf)]),
    ),
)


def _leaves(policy: EgressPolicy, reply: SiteReply, size: int = 20) -> SiteReply | None:
    kept = policy.withhold(reply)
    try:
        policy.check(kept)
        policy.check_bytes(size, sent_before=size)
    except RefusalError:
        return None
    return kept


@given(site=site_policies, reply=replies)
@settings(max_examples=300, deadline=None)
def test_whatever_a_site_writes_nothing_leaves_that_the_study_would_keep(site: SitePolicy, reply: SiteReply) -> None:
    order = order_for(Task.ADAPT_TARGET, "adapt")
    left = _leaves(reply_policy(CONFIG, SiteRole.TARGET, order, RECEIVED, site), reply)
    if left is not None:
        POLICY.check(left)
        POLICY.check_bytes(20, sent_before=20)
        assert left.metrics.items() <= {**reply.metrics, **{key: left.metrics.get(key) for key in WITHHELD}}.items()
        assert left.num_examples >= 3 or not any(key.startswith("dice") for key in left.metrics)
        assert "DOE_JANE" not in {*left.metrics, *(left.weights or {})}
        assert site.scalars is None or all(site.allows_scalar(key) for key in left.metrics.keys() - WITHHELD)
        assert site.max_message_bytes is None or site.max_message_bytes >= 20
        assert site.max_run_bytes is None or site.max_run_bytes >= 40


@pytest.mark.parametrize(
    ("study", "policy", "num_cases", "rule"),
    [
        (CONFIG, NOTHING_NARROWED, 5, "fingerprint"),
        (ASKED, SitePolicy(allow_fingerprints=False), 5, "fingerprint"),
        (ASKED, NOTHING_NARROWED, 2, "small-group"),
        (ASKED, FIVE_CASES, 4, "small-group"),
    ],
)
def test_a_fingerprint_leaves_only_if_both_allow_it_and_over_enough_cases(
    study: StudyConfig, policy: SitePolicy, num_cases: int, rule: str
) -> None:
    card = replace(TARGET_A, fingerprint=PRINT)
    check_card(replace(card, num_cases=5), ASKED, site_allows_style=False, site=FIVE_CASES)
    with pytest.raises(RefusalError) as caught:
        check_card(replace(card, num_cases=num_cases), study, site_allows_style=False, site=policy)
    assert caught.value.rules == (rule,)
