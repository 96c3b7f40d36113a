"""Fitting lowers a loss, can be cut into rounds without a trace, and refuses to send what diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.config import FitConfig
from diffuse_uda.errors import MemoryEstimateError, SiteTaskError
from diffuse_uda.training.fitting import FitResult, fit
from diffuse_uda.training.interruption import allow_local_work, stop_local_work
from diffuse_uda.training.schedule import RoundPlan

OPTIMUM = torch.tensor([[3.0, -1.0]])


@pytest.fixture(autouse=True)
def allowed_afterwards() -> Iterator[None]:
    yield
    allow_local_work()


def layer() -> nn.Linear:
    """Two weights that start at zero."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


def quadratic(model: nn.Linear) -> Callable[[int], Tensor]:
    return lambda _step: (model.weight - OPTIMUM).square().sum()


def phase(num_rounds: int, num_local_steps: int, learning_rate: float = 0.2) -> list[RoundPlan]:
    config = FitConfig(num_rounds=num_rounds, num_local_steps=num_local_steps, learning_rate=learning_rate)
    return [RoundPlan.of(config, server_round) for server_round in range(1, num_rounds + 1)]


def test_a_quadratic_loss_falls_to_its_optimum() -> None:
    model = layer()
    result = fit(model, quadratic(model), phase(1, 120)[0], weight_decay=0.0)
    assert result.losses[0] == pytest.approx(10.0)  # 3^2 + 1^2
    assert result.losses[-1] < 1e-3
    torch.testing.assert_close(model.weight.detach(), OPTIMUM, rtol=0, atol=0.03)


@pytest.mark.fault("R-14")
def test_a_device_without_memory_ends_the_round_with_a_way_out_and_never_changes_the_study() -> None:
    model = layer()
    steps: list[int] = []

    def loss_at(step: int) -> torch.Tensor:
        steps.append(step)
        if step == 2:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return quadratic(model)(step)

    with pytest.raises(MemoryEstimateError, match=r"step 3 of 8 ran out of memory.*2\.00 GiB.*smaller batch-size"):
        fit(model, loss_at, phase(2, 4)[0])
    assert steps == [0, 1, 2]  # it isn't tried again with less


def test_the_mean_loss_is_over_the_steps_of_the_round() -> None:
    assert FitResult(losses=(1.0, 2.0, 6.0), optimizer_state={}).mean_loss == 3.0


def test_rounds_with_kept_moments_end_at_the_weights_of_an_uninterrupted_run() -> None:
    whole, cut, forgetful = layer(), layer(), layer()
    fit(whole, quadratic(whole), phase(1, 12)[0])
    state: dict[str, object] | None = None
    for plan in phase(3, 4):
        state = fit(cut, quadratic(cut), plan, optimizer_state=state).optimizer_state
        fit(forgetful, quadratic(forgetful), plan)
    assert torch.equal(cut.weight, whole.weight)
    assert (forgetful.weight - whole.weight).abs().max() > 1e-3


def test_the_first_step_of_adamw_is_the_planned_rate_whatever_the_gradient() -> None:
    model = layer()
    plan = phase(2, 40)[0]
    seen = []
    fit(model, quadratic(model), plan, weight_decay=0.0, after_step=lambda step: seen.append(model.weight.tolist()))
    assert plan.rate(0) == pytest.approx(0.2 / 8)  # the first of 8 warm-up steps
    assert seen[0][0] == pytest.approx([0.2 / 8, -0.2 / 8], rel=1e-4)
    assert len(seen) == 40


def test_gradients_are_clipped_to_norm_one() -> None:
    model = layer()
    fit(model, lambda _step: 1e4 * (model.weight - OPTIMUM).square().sum(), phase(1, 1)[0])
    assert model.weight.grad is not None
    assert float(model.weight.grad.norm()) == pytest.approx(1.0, rel=1e-4)


def test_weight_decay_pulls_towards_zero() -> None:
    model = layer()
    nn.init.ones_(model.weight)
    # AdamW: w <- w (1 - lr * decay) where the gradient is zero.
    fit(model, lambda _step: 0.0 * model.weight.sum(), phase(1, 1, learning_rate=0.1)[0], weight_decay=0.5)
    assert model.weight.tolist() == [pytest.approx([0.95, 0.95])]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_task_and_names_the_step(bad: float) -> None:
    model = layer()

    def loss_at(step: int) -> Tensor:
        return model.weight.sum() * (bad if step == 2 else 1.0) + (bad if step == 2 else 0.0)

    with pytest.raises(SiteTaskError, match=r"loss became (nan|inf) in step 13 of 20"):
        fit(model, loss_at, phase(2, 10)[1])


def test_frozen_weights_stay_and_the_model_is_in_training_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).eval()
    model[0].requires_grad_(requires_grad=False)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    fit(model, lambda _step: model(torch.ones(1, 2)).square().sum(), phase(1, 2)[0])
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert moved == [False, False, True, True]
    assert model.training


def test_a_stop_ends_the_loop_before_its_next_step() -> None:
    model = layer()
    taken: list[int] = []

    def after_step(step: int) -> None:
        taken.append(step)
        if step == 1:
            stop_local_work()

    with pytest.raises(KeyboardInterrupt):
        fit(model, quadratic(model), phase(1, 10)[0], after_step=after_step)
    assert taken == [0, 1]
