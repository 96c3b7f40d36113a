"""One code path for CPU and GPU: what differs is decided here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
import torch
from torch import nn

from diffuse_uda.config import ComputeConfig, StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.models import build_denoiser
from diffuse_uda.training.device import autocast, choose_device, place, use_threads

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("has_gpu", "wanted", "device"),
    [
        (True, "auto", "cuda"),
        (True, "cuda", "cuda"),
        (True, "cpu", "cpu"),
        (False, "auto", "cpu"),
        (False, "cpu", "cpu"),
    ],
)
def test_the_gpu_is_taken_when_there_is_one_and_the_study_allows_it(
    monkeypatch: pytest.MonkeyPatch, *, has_gpu: bool, wanted: str, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert choose_device(ComputeConfig.model_validate({"device": wanted})).type == device


def test_a_demanded_gpu_that_is_not_there_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ConfigError, match=r"compute.device = cuda, but torch finds no CUDA device here; set it to auto"
    ):
        choose_device(ComputeConfig(device="cuda"))


def test_bf16_is_for_gpus_only_and_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, torch.dtype]] = []

    def record(device_type: str, dtype: torch.dtype) -> AbstractContextManager[None]:
        asked.append((device_type, dtype))
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "autocast", record)
    for device, compute in ((CPU, ComputeConfig()), (CUDA, ComputeConfig(amp=False)), (CUDA, ComputeConfig())):
        with autocast(device, compute):
            pass
    assert asked == [("cuda", torch.bfloat16)]


@pytest.mark.usefixtures("restored_threads")
def test_threads_are_as_many_as_asked_for_and_all_cores_for_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(1)
    assert torch.get_num_threads() == 1
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    use_threads(0)
    assert torch.get_num_threads() == 3


def test_on_a_cpu_the_model_stays_as_it_is_and_learns_whether_to_recompute(study: StudyConfig) -> None:
    denoiser = build_denoiser(study.denoiser, 3)
    assert place(denoiser, CPU, ComputeConfig(activation_checkpointing=True)) is denoiser
    assert denoiser.activation_checkpointing
    place(denoiser, CPU, ComputeConfig())
    assert not denoiser.activation_checkpointing


def test_a_model_without_that_option_is_placed_all_the_same() -> None:
    layer = nn.Conv3d(1, 1, 1)
    assert place(layer, CPU, ComputeConfig(activation_checkpointing=True)) is layer
    assert not hasattr(layer, "activation_checkpointing")


@pytest.mark.parametrize("compile_it", [False, True])
def test_on_a_gpu_weights_lie_channels_last_and_compiling_is_an_option(
    monkeypatch: pytest.MonkeyPatch, *, compile_it: bool
) -> None:
    layer = nn.Conv3d(4, 4, 3)
    moves: list[tuple[torch.device, torch.memory_format]] = []
    compiled: list[str] = []

    def move(device: torch.device, *, memory_format: torch.memory_format) -> nn.Module:
        moves.append((device, memory_format))
        return layer

    monkeypatch.setattr(layer, "to", move)
    monkeypatch.setattr(layer, "compile", lambda: compiled.append("once"))
    assert place(layer, CUDA, ComputeConfig(compile=compile_it)) is layer
    assert moves == [(CUDA, torch.channels_last_3d)]
    assert compiled == (["once"] if compile_it else [])
