"""What an update must be before it may touch the model: the same tensors, finite, with a sane number of cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from diffuse_uda.errors import AggregationError

MAX_NUM_EXAMPLES = 1_000_000_000
"""More cases than any hospital has: a count above it is a mistake, or an attempt to take over."""

LONGEST_NAME = 80
"""Characters of a foreign tensor's name that are repeated in a message."""


class Update(Protocol):
    """What averaging needs to know; `WeightUpdate` is one, and so is a view of a file that reads tensor by tensor."""

    @property
    def site_id(self) -> str:
        """Who sent it."""

    @property
    def num_examples(self) -> int:
        """Cases the site used."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Named tensors of the model."""


def check_update(update: Update, reference: Mapping[str, Tensor]) -> None:
    """Refuse an update that would spoil the model, so that a server can go on without this one site.

    Args:
        update: What a site sent.
        reference: The model that it was asked to train.

    Raises:
        AggregationError: If the number of cases is not sane, or a tensor is missing, unknown, of another shape or
            dtype, or holds NaN or infinity. The message names the site and the tensor.
    """
    require_sane_count(update)
    require_same_names(update, reference, "the model")
    for name, wanted in reference.items():
        tensor = update.weights[name]
        require_same_form(update.site_id, name, tensor, wanted.shape, wanted.dtype)
        require_finite(update.site_id, name, tensor)


def require_sane_count(update: Update) -> None:
    """Refuse a number of cases that is no whole number from 1 to `MAX_NUM_EXAMPLES`."""
    count: object = update.num_examples
    # bool is an int to Python, and `True` cases are a mistake.
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_NUM_EXAMPLES:
        msg = (
            f"site {update.site_id!r}: num_examples is {count!r}, "
            f"wanted a whole number of cases from 1 to {MAX_NUM_EXAMPLES:,}"
        )
        raise AggregationError(msg)


def require_same_names(update: Update, wanted: Iterable[str], whose: str) -> None:
    """Refuse an update that lacks a tensor or brings a foreign one, and one without any."""
    names, wanted_names = set(update.weights), set(wanted)
    if not names:
        msg = f"site {update.site_id!r}: the update holds no tensors"
        raise AggregationError(msg)
    if names != wanted_names:
        msg = (
            f"site {update.site_id!r}: missing tensors {_listed(wanted_names - names)}, "
            f"unknown tensors {_listed(names - wanted_names)}, compared with {whose}"
        )
        raise AggregationError(msg)


def require_same_form(site_id: str, name: str, tensor: object, shape: torch.Size, dtype: torch.dtype) -> None:
    """Refuse a tensor that torch would broadcast or promote without a word."""
    if not isinstance(tensor, Tensor):
        msg = f"site {site_id!r}: tensor {name!r} is a {type(tensor).__name__}, wanted a torch.Tensor"
        raise AggregationError(msg)
    if tensor.shape != shape or tensor.dtype != dtype:
        msg = (
            f"site {site_id!r}: tensor {name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}, "
            f"wanted {dtype} of shape {tuple(shape)}"
        )
        raise AggregationError(msg)
    if dtype.is_complex:
        msg = f"site {site_id!r}: tensor {name!r} is {dtype}: complex weights cannot be averaged"
        raise AggregationError(msg)


def require_finite(site_id: str, name: str, tensor: Tensor) -> None:
    """Refuse a tensor with NaN or infinity: one such value would spread to every site in the next round."""
    if not tensor.is_floating_point():
        return
    num_bad = tensor.numel() - int(torch.isfinite(tensor).count_nonzero())
    if num_bad:
        msg = (
            f"site {site_id!r}: tensor {name!r} holds {num_bad} NaN or infinite values of {tensor.numel()}; "
            "leave this update out, training diverged at the site"
        )
        raise AggregationError(msg)


def _listed(names: set[str]) -> str:
    """Name the first three; a foreign model has hundreds. What somebody calls a tensor can be as long as a book."""
    shown = ", ".join(repr(name[:LONGEST_NAME]) for name in sorted(names)[:3])
    return f"[{shown}, ... {len(names)} in all]" if len(names) > 3 else f"[{shown}]"
