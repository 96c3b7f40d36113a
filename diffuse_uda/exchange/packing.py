"""Named tensors as a few byte buffers and a table: exact for every dtype, cheap to send, safe to read.

Sending costs per object, not per byte: over Flower, 100 MB in 700 tensors took eight times as long as in 20. Bytes keep
bfloat16, tensors without dimensions and tensors without elements as they are; they are little-endian, as are all
machines in use. A reader allocates what came, never what a header claims.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffuse_uda.errors import ExchangeError
from diffuse_uda.types import StateDict

BUFFER_BYTES = 4 * 2**20
"""Tensors share a buffer until it is this full; a larger tensor has one of its own. Just below Flower's 5 MB chunk."""

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which bytes are which tensor: one entry a tensor, in the order of the bytes."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[str, ...]
    """Sizes joined by `x`, such as `24x1x3x3x3`; empty for a tensor without dimensions."""
    buffers: tuple[int, ...]
    """Index of the buffer that holds the tensor; never decreasing."""


def pack(tensors: Mapping[str, Tensor]) -> tuple[Layout, list[bytes]]:
    """Lay tensors one after another into buffers.

    Raises:
        ExchangeError: If a tensor is of a dtype that does not travel, such as complex numbers.
    """
    names, dtypes, shapes, places = [], [], [], []
    buffers: list[bytes] = []
    open_parts: list[memoryview] = []
    open_bytes = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            msg = f"tensor {name!r} is {tensor.dtype}; only {sorted(_DTYPES)} travel"
            raise ExchangeError(msg)
        part = _bytes_of(tensor)
        if open_parts and open_bytes + part.nbytes > BUFFER_BYTES:
            buffers.append(b"".join(open_parts))
            open_parts, open_bytes = [], 0
        open_parts.append(part)
        open_bytes += part.nbytes
        names.append(name)
        dtypes.append(_NAMES[tensor.dtype])
        shapes.append("x".join(map(str, tensor.shape)))
        places.append(len(buffers))
    if open_parts:
        buffers.append(b"".join(open_parts))
    layout = Layout(names=tuple(names), dtypes=tuple(dtypes), shapes=tuple(shapes), buffers=tuple(places))
    return layout, buffers


def unpack(layout: Layout, num_buffers: int, take_buffer: Callable[[int], bytes]) -> StateDict:
    """Read tensors back, each into memory of its own.

    Args:
        layout: The table that came with the buffers.
        num_buffers: How many buffers came.
        take_buffer: Hands over a buffer by index and forgets it, so that a model is never held twice.

    Raises:
        ExchangeError: If table and buffers contradict each other or the table itself.
    """
    _require_consistent(layout, num_buffers)
    tensors: StateDict = {}
    index, buffer, start = -1, b"", 0
    for name, dtype_name, shape_text, place in zip(
        layout.names, layout.dtypes, layout.shapes, layout.buffers, strict=True
    ):
        if place != index:
            _require_used_up(index, buffer, start)
            index, buffer, start = place, take_buffer(place), 0
        dtype, shape = _DTYPES[dtype_name], _sizes(name, shape_text)
        size = math.prod(shape) * dtype.itemsize
        if start + size > len(buffer):
            msg = f"tensor {name!r} of shape {shape} needs {size} bytes, its buffer has {len(buffer) - start} left"
            raise ExchangeError(msg)
        flat = torch.empty(math.prod(shape), dtype=dtype)
        np.copyto(flat.view(torch.uint8).numpy(), np.frombuffer(buffer, np.uint8, count=size, offset=start))
        tensors[name] = flat.reshape(shape)
        start += size
    _require_used_up(index, buffer, start)
    return tensors


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _require_consistent(layout: Layout, num_buffers: int) -> None:
    num_tensors = len(layout.names)
    if any(len(column) != num_tensors for column in (layout.dtypes, layout.shapes, layout.buffers)):
        msg = "the table of tensors has columns of different lengths"
        raise ExchangeError(msg)
    if len(set(layout.names)) != num_tensors:
        msg = "the table of tensors names one tensor twice"
        raise ExchangeError(msg)
    if unknown := sorted(set(layout.dtypes) - _DTYPES.keys()):
        msg = f"the table of tensors has dtypes {unknown}; only {sorted(_DTYPES)} travel"
        raise ExchangeError(msg)
    if sorted(set(layout.buffers)) != list(range(num_buffers)) or list(layout.buffers) != sorted(layout.buffers):
        msg = f"the table of tensors does not go through the {num_buffers} buffers in order"
        raise ExchangeError(msg)


def _sizes(name: str, text: str) -> tuple[int, ...]:
    parts = text.split("x") if text else []
    # isdecimal alone would let other alphabets' digits pass.
    if not all(part.isascii() and part.isdecimal() and len(part) <= 12 for part in parts):
        msg = f"tensor {name!r} has no shape but {text!r}"
        raise ExchangeError(msg)
    return tuple(map(int, parts))


def _require_used_up(index: int, buffer: bytes, used: int) -> None:
    if used != len(buffer):
        msg = f"buffer {index} has {len(buffer)} bytes, its tensors only {used}"
        raise ExchangeError(msg)
