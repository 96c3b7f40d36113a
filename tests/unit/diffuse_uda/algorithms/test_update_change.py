"""No optimiser moves a weight farther than its learning rates allow; whatever moved farther was not trained."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.update_change import (
    ROUNDING,
    Reach,
    TensorChange,
    UpdateChange,
    is_untrained,
    largest_move,
    measure_change,
)
from diffuse_uda.errors import AggregationError

REACH = Reach(
    trained=0.5,
    num_steps=10,
    domain=1,
    domain_tables=("class_table.rows", "embedding.weight"),
    described=("class_table.rows",),
)
SENT = {
    "conv.weight": torch.zeros(2, 2),
    "conv.bias": torch.tensor(1.0),
    "class_table.rows": torch.zeros(3, 2),
    "embedding.weight": torch.zeros(3, 2),
    "count": torch.tensor(5),
    "on": torch.tensor([True]),
}


def measured(**changed: Tensor) -> UpdateChange:
    return measure_change("leeds", {**SENT, **changed}, SENT, REACH)


def test_a_round_s_learning_rates_bound_every_weight_whatever_the_gradients_are() -> None:
    # (1 - 0.9) / sqrt((1 - 0.99) (1 - 0.81 / 0.99)) = 0.1 / sqrt(0.01 * 0.1818...) = 2.345
    assert largest_move(1.0, (0.9, 0.99)) == pytest.approx(2.3452, abs=1e-4)
    assert largest_move(0.3, (0.9, 0.99)) == pytest.approx(0.3 * 2.3452, abs=1e-4)
    # Without any memory every step is as long as the learning rate.
    assert largest_move(1.0, (0.0, 0.0001)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("shape", ["constant", "rising", "one burst at the end", "turning"])
def test_adamw_keeps_to_the_bound_for_gradients_made_to_break_it(shape: str) -> None:
    steps = 60
    gradients = {
        "constant": [1.0] * steps,
        "rising": [1.3**step for step in range(steps)],  # the worst case of the Cauchy-Schwarz inequality
        "one burst at the end": [1e-9] * (steps - 1) + [1e9],
        "turning": [(-1.0) ** step for step in range(steps)],
    }[shape]
    weight = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
    optimizer = torch.optim.AdamW([weight], lr=0.01, betas=(0.9, 0.99), weight_decay=1e-4)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    assert abs(weight.item() - 0.5) <= largest_move(0.01 * steps, (0.9, 0.99)) * ROUNDING


def test_a_change_is_measured_tensor_by_tensor() -> None:
    change = measured(**{"conv.weight": torch.tensor([[0.3, 0.0], [0.0, -0.4]])})
    weight = change.tensors["conv.weight"]
    assert weight.norm == pytest.approx(0.5)
    assert weight.size == 4
    assert weight.largest == pytest.approx(0.4)
    assert change.norm == pytest.approx(0.5)
    assert change.size == 4 + 1 + 6
    assert list(change.tensors) == ["conv.weight", "conv.bias", "embedding.weight"]
    assert list(change.described) == ["class_table.rows"]


def test_the_norm_of_many_tensors_is_that_of_all_their_values() -> None:
    tensors = {name: TensorChange(norm=norm, largest=0.1, size=1) for name, norm in {"a": 3.0, "b": 4.0}.items()}
    assert UpdateChange(tensors=tensors).norm == 5.0
    assert UpdateChange(tensors={}).norm == 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"conv.weight": torch.full((2, 2), 0.52)},
            r"'leeds': a value of tensor 'conv.weight' moved by 0.52; 10 steps",
        ),
        ({"conv.weight": torch.tensor([[0.0, 0.0], [0.0, 1e30]])}, r"'conv.weight' moved by 1e\+30"),
        ({"conv.bias": torch.tensor(-1.0)}, r"'conv.bias' moved by 2; .* no value farther than 0.51"),
        (
            {"embedding.weight": torch.tensor([[0.1, 0.0], [0.1, 0.0], [0.0, 0.0]])},
            r"'embedding.weight' has changed rows \[0\], which belong to other sites; its own is row 1",
        ),
        ({"class_table.rows": torch.full((3, 2), 0.1)}, r"'class_table.rows' has changed rows \[0, 2\]"),
        (
            {"class_table.rows": torch.tensor([[0.0, 0.0], [1e6, 0.0], [0.0, 0.0]])},
            r"'class_table.rows' describes a class by 1e\+06",
        ),
        ({"count": torch.tensor(4)}, r"counter 'count' went from \[5\] to \[4\]"),
        ({"count": torch.tensor(5 + 10_001)}, r"wanted a rise of 0 to 10000 in 10 steps"),
        ({"count": torch.tensor(2**63 - 1)}, r"counter 'count'"),
        ({"count": torch.tensor(-(2**63))}, r"counter 'count'"),
    ],
)
def test_what_honest_work_cannot_do_is_refused_with_the_tensor_s_name(changed: dict[str, Tensor], message: str) -> None:
    with pytest.raises(AggregationError, match=message):
        measured(**changed)


def test_what_honest_work_can_do_passes() -> None:
    measured(
        **{
            "conv.weight": torch.tensor([[0.5, -0.5], [-0.0, 1e-42]]),  # at the bound, negative zero, a denormal number
            "class_table.rows": torch.tensor([[0.0, 0.0], [-1.0, 1.0], [0.0, 0.0]]),
            "embedding.weight": torch.tensor([[0.0, 0.0], [0.5, -0.5], [0.0, 0.0]]),
            "count": torch.tensor(5 + 10_000),
            "on": torch.tensor([False]),
        }
    )


def test_half_precision_may_round() -> None:
    # bfloat16 has three digits: 256 and its neighbour are 2 apart, four times as far as training can move anything.
    sent = {"w": torch.tensor([256.0], dtype=torch.bfloat16)}
    measure_change("leeds", {"w": torch.tensor([258.0], dtype=torch.bfloat16)}, sent, REACH)
    with pytest.raises(AggregationError, match="moved by 8"):
        measure_change("leeds", {"w": torch.tensor([264.0], dtype=torch.bfloat16)}, sent, REACH)


def test_a_tensor_without_values_is_no_change() -> None:
    empty = {"w": torch.empty(0, 3)}
    assert measure_change("leeds", empty, empty, REACH).norm == 0.0


def test_the_model_that_was_sent_is_recognised() -> None:
    assert is_untrained(measured())
    assert is_untrained(measured(count=torch.tensor(6)))
    assert not is_untrained(measured(**{"conv.bias": torch.tensor(math.nextafter(1.0, 2.0) + 1e-6)}))
    assert not is_untrained(measured(**{"class_table.rows": torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.0]])}))
