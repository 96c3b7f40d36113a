"""The loop every model is fitted by: AdamW, clipped gradients, one learning-rate schedule over the phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffuse_uda.errors import MemoryEstimateError, SiteTaskError
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.training.schedule import RoundPlan

CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-4
BETAS = (0.9, 0.99)
"""AdamW's. The server knows from them how far a round can move a weight at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What a round of fitting leaves behind at the site."""

    losses: tuple[float, ...]
    optimizer_state: dict[str, object]

    @property
    def mean_loss(self) -> float:
        """Mean over the round's steps."""
        return math.fsum(self.losses) / len(self.losses)


def fit(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    plan: RoundPlan,
    *,
    optimizer_state: dict[str, object] | None = None,
    betas: tuple[float, float] = BETAS,
    weight_decay: float = WEIGHT_DECAY,
    after_step: Callable[[int], None] | None = None,
) -> FitResult:
    """Take the steps of one round.

    Args:
        model: Trained in place.
        loss_at: Loss of local step 0, 1, ...; it draws its own batch.
        plan: Number of steps and learning rates.
        optimizer_state: Moments this site kept from the round before. They never leave the site: a fresh optimiser
            every round would spend short rounds on its warm-up.
        betas: AdamW's.
        weight_decay: AdamW's.
        after_step: Called with the local step that was just taken.

    Raises:
        SiteTaskError: If the loss is not finite; the weights that led there are not worth sending.
        MemoryEstimateError: If the device runs out of memory.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, betas=betas, weight_decay=weight_decay)
    if optimizer_state:
        optimizer.load_state_dict(optimizer_state)
    model.train()
    losses = []
    for step in range(plan.num_local_steps):
        raise_if_stopped()
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        optimizer.zero_grad(set_to_none=True)
        try:
            loss = loss_at(step)
            loss.backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            msg = (
                f"step {plan.first_step + step + 1} of {plan.total_steps} ran out of memory, although its estimate "
                f"fitted before: {error}. Nothing of this round is kept. End what else uses the device, or set a "
                "smaller batch-size or grid.patch-size"
            )
            raise MemoryEstimateError(msg) from error
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            msg = f"loss became {losses[-1]} in step {plan.first_step + step + 1} of {plan.total_steps}"
            raise SiteTaskError(msg)
        if after_step is not None:
            after_step(step)
    return FitResult(losses=tuple(losses), optimizer_state=optimizer.state_dict())
