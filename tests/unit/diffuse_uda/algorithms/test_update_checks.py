"""A server must be able to name the site and the tensor that would spoil the model, and drop that site alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.update_checks import check_update
from diffuse_uda.errors import AggregationError
from diffuse_uda.types import WeightUpdate

MODEL = {"conv.weight": torch.zeros(3), "num_batches_tracked": torch.tensor(0)}


def update(num_examples: Any = 4, **changed: Any) -> WeightUpdate:
    """An update of site leeds that fits the model but for what is changed; None takes a tensor away."""
    weights = {"conv.weight": torch.ones(3), "num_batches_tracked": torch.tensor(7)} | changed
    return WeightUpdate(
        site_id="leeds",
        weights={name: tensor for name, tensor in weights.items() if tensor is not None},
        num_examples=num_examples,
    )


def test_an_update_that_fits_passes() -> None:
    check_update(update(), MODEL)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"conv.weight": torch.tensor([1.0, float("nan"), float("inf")])},
            "'conv.weight' holds 2 NaN or infinite values of 3",
        ),
        ({"conv.weight": torch.ones(1)}, r"'conv.weight' is torch.float32 of shape \(1,\), wanted .* shape \(3,\)"),
        ({"conv.weight": torch.ones(3, 3)}, r"shape \(3, 3\), wanted torch.float32 of shape \(3,\)"),
        ({"conv.weight": torch.ones(3).half()}, "'conv.weight' is torch.float16 .*, wanted torch.float32"),
        ({"num_batches_tracked": torch.tensor(7.0)}, "'num_batches_tracked' is torch.float32 .*, wanted torch.int64"),
        ({"conv.weight": None}, r"missing tensors \['conv.weight'\], unknown tensors \[\]"),
        ({"extra": torch.ones(3)}, r"missing tensors \[\], unknown tensors \['extra'\]"),
        ({"conv.weight": None, "module.conv.weight": torch.ones(3)}, r"unknown tensors \['module.conv.weight'\]"),
        ({"conv.weight": None, "num_batches_tracked": None}, "holds no tensors"),
        ({"conv.weight": np.array([object()] * 3)}, "'conv.weight' is a ndarray, wanted a torch.Tensor"),
        ({letter: torch.ones(1) for letter in "abcde"}, r"unknown tensors \['a', 'b', 'c', ... 5 in all\]"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(AggregationError, match=f"site 'leeds'.*{message}"):
        check_update(update(**changed), MODEL)


@pytest.mark.parametrize("num_examples", [0, -9, True, 3.0, "3", None, float("nan"), float("inf"), 10**18])
def test_a_number_of_cases_that_is_none_is_refused(num_examples: object) -> None:
    with pytest.raises(AggregationError, match=r"site 'leeds': num_examples is .*, wanted a whole number of cases"):
        check_update(update(num_examples), MODEL)


def test_complex_weights_are_refused() -> None:
    # Cast to float they would lose their imaginary part without a word.
    model = {"w": torch.zeros(1, dtype=torch.complex64)}
    with pytest.raises(AggregationError, match="complex weights cannot be averaged"):
        check_update(WeightUpdate(site_id="leeds", weights=model, num_examples=1), model)
