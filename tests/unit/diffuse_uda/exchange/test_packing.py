"""Tensors survive the way as bytes, and a table that lies is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffuse_uda.errors import ExchangeError
from diffuse_uda.exchange.packing import BUFFER_BYTES, Layout, pack, unpack
from diffuse_uda.types import StateDict


def _round_trip(tensors: StateDict) -> StateDict:
    layout, buffers = pack(tensors)
    return unpack(layout, len(buffers), lambda index: buffers[index])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([[1.5, -2.0], [float("nan"), float("inf")]]),
        torch.tensor(7),
        torch.tensor(0.25, dtype=torch.float64),
        torch.tensor([1.0, 1.0078125], dtype=torch.bfloat16),
        torch.tensor([1.0, 65504.0], dtype=torch.float16),
        torch.tensor([True, False, True]),
        torch.tensor([-(2**62), 2**62]),
        torch.tensor([-128, 127], dtype=torch.int8),
        torch.empty(0, 3),
        torch.arange(24.0).reshape(2, 3, 4).transpose(0, 2),
        torch.rand(2, 2, 3, 3, 3).to(memory_format=torch.channels_last_3d),
    ],
)
def test_every_tensor_comes_back_bit_by_bit(tensor: torch.Tensor) -> None:
    back = _round_trip({"odd": torch.tensor([True]), "it": tensor})["it"]
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert back.reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist()


def test_an_empty_model_travels() -> None:
    assert _round_trip({}) == {}


def test_small_tensors_share_a_buffer_and_a_large_one_has_its_own() -> None:
    quarter = torch.zeros(BUFFER_BYTES // 16)  # a quarter of a buffer in float32
    large = torch.zeros(BUFFER_BYTES)
    layout, buffers = pack({"a": quarter, "b": quarter, "large": large, "c": quarter})
    assert layout.buffers == (0, 0, 1, 2)
    assert [len(buffer) for buffer in buffers] == [BUFFER_BYTES // 2, 4 * BUFFER_BYTES, BUFFER_BYTES // 4]


def test_what_came_back_is_the_reader_s_own() -> None:
    layout, buffers = pack({"a": torch.zeros(2), "b": torch.zeros(2)})
    first, second = (unpack(layout, 1, lambda index: buffers[index]) for _ in range(2))
    first["a"].add_(1.0)
    assert first["b"].tolist() == [0.0, 0.0]
    assert second["a"].tolist() == [0.0, 0.0]


def test_buffers_are_taken_one_by_one_in_order() -> None:
    tensors = {name: torch.zeros(BUFFER_BYTES // 4) for name in "abc"}
    layout, buffers = pack(tensors)
    taken: list[int] = []

    def take(index: int) -> bytes:
        taken.append(index)
        return buffers[index]

    unpack(layout, 3, take)
    assert taken == [0, 1, 2]


def test_complex_numbers_do_not_travel() -> None:
    with pytest.raises(ExchangeError, match=r"'w' is torch\.complex64"):
        pack({"w": torch.zeros(1, dtype=torch.complex64)})


GOOD = Layout(names=("w",), dtypes=("float32",), shapes=("2",), buffers=(0,))


@pytest.mark.parametrize(
    ("layout", "num_buffers", "size", "wrong"),
    [
        (replace(GOOD, dtypes=()), 1, 8, "columns of different lengths"),
        (replace(GOOD, dtypes=("object",)), 1, 8, "dtypes \\['object'\\]"),
        (Layout(names=("w", "w"), dtypes=("int8",) * 2, shapes=("", ""), buffers=(0, 0)), 1, 2, "one tensor twice"),
        (replace(GOOD, buffers=(1,)), 1, 8, "does not go through the 1 buffers"),
        (Layout(names=("v", "w"), dtypes=("int8",) * 2, shapes=("", ""), buffers=(1, 0)), 2, 1, "in order"),
        (GOOD, 2, 8, "does not go through the 2 buffers"),
        (replace(GOOD, shapes=("-2",)), 1, 8, "no shape but '-2'"),
        (replace(GOOD, shapes=("2xx2",)), 1, 8, "no shape but '2xx2'"),
        (replace(GOOD, shapes=("٢",)), 1, 8, "no shape"),
        (replace(GOOD, shapes=("1000000000000",)), 1, 8, "no shape"),
        (replace(GOOD, shapes=("100000000000",)), 1, 8, "needs 400000000000 bytes, its buffer has 8 left"),
        (GOOD, 1, 7, "needs 8 bytes, its buffer has 7 left"),
        (GOOD, 1, 9, "has 9 bytes, its tensors only 8"),
    ],
)
def test_a_table_that_lies_is_refused(layout: Layout, num_buffers: int, size: int, wrong: str) -> None:
    with pytest.raises(ExchangeError, match=wrong):
        unpack(layout, num_buffers, lambda _index: bytes(size))


def test_a_buffer_with_bytes_to_spare_is_refused_even_in_the_middle() -> None:
    layout = Layout(names=("v", "w"), dtypes=("int8", "int8"), shapes=("", ""), buffers=(0, 1))
    with pytest.raises(ExchangeError, match="buffer 0 has 2 bytes"):
        unpack(layout, 2, lambda _index: bytes(2))
