"""Weights on the server's disk read back bit by bit, one tensor at a time, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from server.spool import SpooledWeights

WEIGHTS = {
    "w": torch.tensor([[1.0, float("nan")], [2.0, -0.0]]),
    "half": torch.tensor([0.1, 0.2], dtype=torch.bfloat16),
    "count": torch.tensor(3),
    "none": torch.empty(0, 2),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "on": torch.tensor([True, False]),
}


def test_every_tensor_reads_back_bit_by_bit_in_any_order(tmp_path: Path) -> None:
    spooled = SpooledWeights(WEIGHTS, tmp_path)
    assert list(spooled) == list(WEIGHTS)
    assert len(spooled) == 6
    for name in [*reversed(WEIGHTS), "w"]:
        back, wanted = spooled[name], WEIGHTS[name]
        assert (back.dtype, back.shape) == (wanted.dtype, wanted.shape)
        assert back.reshape(-1).view(torch.uint8).tolist() == wanted.reshape(-1).view(torch.uint8).tolist()
    spooled.close()


def test_a_reader_gets_its_own_memory(tmp_path: Path) -> None:
    spooled = SpooledWeights({"w": torch.zeros(2)}, tmp_path)
    spooled["w"].add_(1.0)
    assert spooled["w"].tolist() == [0.0, 0.0]
    spooled.close()


def test_the_file_has_no_name(tmp_path: Path) -> None:
    spooled = SpooledWeights(WEIGHTS, tmp_path)
    assert list(tmp_path.iterdir()) == []
    spooled.close()


def test_an_unknown_name_is_a_key_error(tmp_path: Path) -> None:
    spooled = SpooledWeights(WEIGHTS, tmp_path)
    assert "foreign" not in spooled
    with pytest.raises(KeyError):
        spooled["foreign"]
    spooled.close()


def test_a_file_that_lost_its_end_is_noticed(tmp_path: Path) -> None:
    spooled = SpooledWeights({"w": torch.zeros(100_000)}, tmp_path)
    spooled._file.truncate(10)
    with pytest.raises(OSError, match="'w' cannot be read back"):
        spooled["w"]
    spooled.close()


def test_forms_have_shapes_and_dtypes_and_no_values(tmp_path: Path) -> None:
    spooled = SpooledWeights(WEIGHTS, tmp_path)
    forms = spooled.forms()
    assert {name: (form.shape, form.dtype) for name, form in forms.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in WEIGHTS.items()
    }
    assert {form.device.type for form in forms.values()} == {"meta"}
    spooled.close()
