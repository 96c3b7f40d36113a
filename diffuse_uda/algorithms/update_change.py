"""How far an update has moved from the model that its site was asked to train, and how far it can have moved at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffuse_uda.errors import AggregationError

COUNTS_PER_STEP = 1_000
"""Most that a counter among the buffers may rise in one local step: many forward passes, never a take-over."""

LARGEST_DESCRIPTION = 1_000.0
"""Largest magnitude of a number that describes a class (intensity, spread, volume as a share of all structures)."""

ROUNDING = 1.02
"""Room for weight decay and for rounding above the exact bound of the optimiser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorChange:
    """Distance of one tensor from the one that was sent."""

    norm: float
    """Euclidean norm of the difference."""
    largest: float
    """Largest change of one value, in absolute numbers."""
    size: int
    """Values there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateChange:
    """Distance of an update from the model that was sent, tensor by tensor."""

    tensors: Mapping[str, TensorChange]
    """The trained ones."""
    described: Mapping[str, TensorChange] = field(default_factory=dict)
    """Those that are set in closed form."""

    @property
    def size(self) -> int:
        """Trained values there are."""
        return sum(change.size for change in self.tensors.values())

    @property
    def norm(self) -> float:
        """Euclidean norm over all trained tensors."""
        return math.sqrt(math.fsum(change.norm**2 for change in self.tensors.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """How far one round of honest work can move a model, known before the work begins."""

    trained: float
    """Largest change of one trained value (`largest_move`)."""
    num_steps: int
    """Optimiser steps of the round."""
    domain: int
    """The site's row in tables whose first axis is the domain."""
    domain_tables: tuple[str, ...]
    """Endings of the names of those tables."""
    described: tuple[str, ...]
    """Endings of the names of those that are set in closed form, not trained."""


def largest_move(sum_of_rates: float, betas: tuple[float, float]) -> float:
    """Largest change of one weight in a round of Adam or AdamW, whatever the gradients are.

    With m the mean of the gradients and v that of their squares, the Cauchy-Schwarz inequality gives
    |m| <= sqrt(v) (1 - beta1) / sqrt((1 - beta2) (1 - beta1^2 / beta2)), so no step is longer than the learning rate
    times that factor (compare Kingma and Ba 2015, arXiv:1412.6980, section 2.1). It holds from the first step of a
    phase to the last, for averages that a site has kept from earlier rounds too. Weight decay is in `ROUNDING`.

    Args:
        sum_of_rates: Learning rates of the round's steps, added up.
        betas: Decay of both averages; beta1^2 < beta2.
    """
    beta1, beta2 = betas
    longest_step = (1.0 - beta1) / math.sqrt((1.0 - beta2) * (1.0 - beta1**2 / beta2))
    return sum_of_rates * max(longest_step, 1.0)


@torch.no_grad()
def measure_change(
    site_id: str, weights: Mapping[str, Tensor], sent: Mapping[str, Tensor], reach: Reach
) -> UpdateChange:
    """Measure an update, and refuse one that no honest work within the order's budget can have led to.

    One tensor of each mapping is held at a time.

    Args:
        site_id: Who sent it.
        weights: The update; names, shapes and dtypes are those of `sent`, values are finite (`check_update`).
        sent: The model that the site was asked to train.
        reach: What a round of honest work can do.

    Raises:
        AggregationError: Naming the site and the tensor: a value that moved farther than the optimiser can move it, a
            counter that fell or leapt, a number in the row of another domain.
    """
    trained, described = {}, {}
    for name, tensor in weights.items():
        base = sent[name]
        if not tensor.is_floating_point():
            _require_counted(site_id, name, tensor, base, reach.num_steps)
            continue
        # Differences of float32 are exact enough in float32; of half precision they would not be.
        precision = torch.promote_types(tensor.dtype, torch.float32)
        change = tensor.to(precision).sub_(base) if precision != tensor.dtype else tensor - base
        if name.endswith(reach.domain_tables):
            _require_own_row(site_id, name, change, reach.domain)
        largest = float(change.abs().max()) if change.numel() else 0.0
        norm = float(torch.linalg.vector_norm(change, dtype=torch.float64))
        measured = TensorChange(norm=norm, largest=largest, size=change.numel())
        if name.endswith(reach.described):
            _require_described(site_id, name, tensor)
            described[name] = measured
        else:
            _require_in_reach(site_id, name, largest, reach, base)
            trained[name] = measured
    return UpdateChange(tensors=trained, described=described)


def is_untrained(change: UpdateChange) -> bool:
    """Whether an update is the model that was sent."""
    return all(tensor.largest == 0.0 for tensor in (*change.tensors.values(), *change.described.values()))


def _require_in_reach(site_id: str, name: str, largest: float, reach: Reach, base: Tensor) -> None:
    scale = float(base.abs().max()) if base.numel() else 0.0
    # The last term is the rounding of the tensor's own precision, which matters in half precision only.
    limit = reach.trained * ROUNDING + 2.0 * scale * torch.finfo(base.dtype).eps
    if largest > limit:
        msg = (
            f"site {site_id!r}: a value of tensor {name!r} moved by {largest:.3g}; {reach.num_steps} steps of this "
            f"round's optimiser move no value farther than {limit:.3g}: the update was scaled, replaced or disturbed"
        )
        raise AggregationError(msg)


def _require_own_row(site_id: str, name: str, change: Tensor, domain: int) -> None:
    foreign = [row for row in range(change.shape[0]) if row != domain and bool(change[row].any())]
    if foreign:
        msg = (
            f"site {site_id!r}: tensor {name!r} has changed rows {foreign}, which belong to other sites; "
            f"its own is row {domain}"
        )
        raise AggregationError(msg)


def _require_described(site_id: str, name: str, tensor: Tensor) -> None:
    largest = float(tensor.abs().max()) if tensor.numel() else 0.0
    if largest > LARGEST_DESCRIPTION:
        msg = (
            f"site {site_id!r}: tensor {name!r} describes a class by {largest:.3g}; intensities are within [-1, 1] "
            f"and nothing in this table is larger than {LARGEST_DESCRIPTION:g}"
        )
        raise AggregationError(msg)


def _require_counted(site_id: str, name: str, tensor: Tensor, base: Tensor, num_steps: int) -> None:
    if tensor.dtype == torch.bool:
        return
    most = COUNTS_PER_STEP * num_steps
    # The model's own counter is the smaller side of both sums, so that none of them can wrap around.
    fell, leapt = tensor < base, tensor.to(torch.int64) > base.to(torch.int64) + most
    if bool(fell.any()) or bool(leapt.any()):
        msg = (
            f"site {site_id!r}: counter {name!r} went from {base.flatten()[:3].tolist()} to "
            f"{tensor.flatten()[:3].tolist()}; wanted a rise of 0 to {most} in {num_steps} steps"
        )
        raise AggregationError(msg)
