"""Learning rates run over the phase: a rise, a plateau to 60 %, a fall to 2 %."""

from __future__ import annotations

import pytest

from diffuse_uda.config import FitConfig
from diffuse_uda.training.schedule import RoundPlan

PHASE = FitConfig(num_rounds=10, num_local_steps=100, learning_rate=0.5)


def rates(fit: FitConfig) -> list[float]:
    plans = [RoundPlan.of(fit, server_round) for server_round in range(1, fit.num_rounds + 1)]
    return [plan.rate(step) for plan in plans for step in range(plan.num_local_steps)]


def test_a_round_knows_its_place_in_the_phase() -> None:
    plan = RoundPlan.of(PHASE, 3)
    assert (plan.num_local_steps, plan.first_step, plan.total_steps) == (100, 200, 1000)
    assert (plan.progress(0), plan.progress(50)) == (0.2, 0.25)


def test_the_rate_rises_for_50_steps_stays_to_60_percent_and_falls_to_2_percent() -> None:
    found = rates(PHASE)
    assert found[0] == pytest.approx(0.5 / 50)
    assert found[24] == pytest.approx(0.5 / 2)
    assert set(found[49:601]) == {0.5}
    assert found[800] == pytest.approx(0.5 * 0.5)
    assert found[999] == pytest.approx(0.5 * 0.02)
    assert min(found[600:]) == found[999]


def test_a_short_phase_rises_for_a_tenth_of_it_and_never_starts_at_zero() -> None:
    assert rates(FitConfig(num_rounds=1, num_local_steps=20, learning_rate=1.0))[:3] == [0.5, 1.0, 1.0]
    assert rates(FitConfig(num_rounds=1, num_local_steps=1, learning_rate=1.0)) == [1.0]


def test_rounds_only_cut_the_schedule_they_do_not_change_it() -> None:
    whole = FitConfig(num_rounds=1, num_local_steps=1000, learning_rate=0.5)
    assert rates(PHASE) == rates(whole)


def test_a_scaled_plan_has_every_rate_multiplied_and_nothing_else_changed() -> None:
    plan = RoundPlan.of(PHASE, 7)
    half = plan.scaled(0.5)
    assert [half.rate(step) for step in range(100)] == pytest.approx([0.5 * plan.rate(step) for step in range(100)])
    assert (half.first_step, half.num_local_steps, half.total_steps) == (600, 100, 1000)


def test_a_share_of_the_steps_goes_through_the_whole_schedule_and_is_never_none() -> None:
    third_round = RoundPlan.of(PHASE, 3, share=0.25)
    assert (third_round.num_local_steps, third_round.first_step, third_round.total_steps) == (25, 50, 250)
    assert third_round.progress(0) == RoundPlan.of(PHASE, 3).progress(0)
    assert RoundPlan.of(PHASE, 1, share=0.001).num_local_steps == 1
