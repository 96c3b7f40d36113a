"""Weights that wait on the server's disk until a round is complete: checked on arrival, averaged from the file.

The average must not depend on who answered first, and the shares depend on who answered at all, so it is summed when
the round is complete. Keeping the replies in memory until then would cost one model a site; asking for them one after
another in a fixed order would lose the reply of a site that goes offline while a slower one is waited for. A file costs
neither. It has no name from the start, so nothing is left behind whatever happens to the process.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from diffuse_uda.data.storage import written_patiently
from server.journal import PATIENCE_S


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def spooled(weights: Mapping[str, Tensor], folder: Path) -> SpooledWeights:
    """Put a model on the disk of `folder`; a disk that is full is waited for.

    Raises:
        StorageError: If it stays full.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    return written_patiently(lambda: SpooledWeights(weights, folder), folder, needed_bytes=size, patience_s=PATIENCE_S)


class SpooledWeights(Mapping[str, Tensor]):
    """Named tensors in a nameless file; every access reads one tensor into fresh memory."""

    def __init__(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the tensors to a nameless file on the disk of `folder`.

        Raises:
            OSError: If the disk is full or not writable.
        """
        self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - lives as long as this mapping
        self._places: dict[str, _Place] = {}
        start = 0
        for name, tensor in weights.items():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            self._places[name] = _Place(start=start, shape=tuple(tensor.shape), dtype=tensor.dtype)
            start += self._file.write(flat.view(torch.uint8).numpy().data)
        self._file.flush()

    def __getitem__(self, name: str) -> Tensor:
        """Read one tensor."""
        shape = self._places[name].shape
        return self.part(name, 0, math.prod(shape)).reshape(shape)

    def part(self, name: str, start: int, stop: int) -> Tensor:
        """Read values `start` to `stop` of one tensor, laid out in a row."""
        place = self._places[name]
        flat = torch.empty(stop - start, dtype=place.dtype)
        self._file.seek(place.start + start * place.dtype.itemsize)
        buffer = flat.view(torch.uint8).numpy()
        if self._file.readinto(buffer.data) != buffer.nbytes:  # type: ignore[attr-defined]
            msg = f"tensor {name!r} cannot be read back from the spool file; is the disk full?"
            raise OSError(msg)
        return flat

    def __iter__(self) -> Iterator[str]:
        """Names in the order of the model."""
        return iter(self._places)

    def __len__(self) -> int:
        """Number of tensors."""
        return len(self._places)

    def forms(self) -> dict[str, Tensor]:
        """The same tensors without values (on torch's `meta` device), to compare shapes and dtypes with."""
        return {
            name: torch.empty(place.shape, dtype=place.dtype, device="meta") for name, place in self._places.items()
        }

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
