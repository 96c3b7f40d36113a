"""The machine a site computes on: one code path for CPU and GPU."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager

import torch
from torch import nn

from diffuse_uda.config import ComputeConfig
from diffuse_uda.errors import ConfigError


def choose_device(compute: ComputeConfig) -> torch.device:
    """The local GPU when there is one and the study allows it, else the CPU.

    Raises:
        ConfigError: If the study demands a GPU that this machine does not have.
    """
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        msg = "compute.device = cuda, but torch finds no CUDA device here; set it to auto or cpu, or check the driver"
        raise ConfigError(msg)
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")


def use_threads(num_threads: int) -> None:
    """Set the threads of this worker's CPU kernels; 0 takes every core. OpenMP keeps the number per calling thread."""
    torch.set_num_threads(num_threads or os.cpu_count() or 1)


def autocast(device: torch.device, compute: ComputeConfig) -> AbstractContextManager[object]:
    """bf16 on a GPU; float32 on a CPU, where emulated bf16 was measured nine times slower."""
    if device.type == "cuda" and compute.amp:
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def place(model: nn.Module, device: torch.device, compute: ComputeConfig) -> nn.Module:
    """Move a model to its device in the layout that is fast there.

    channels-last 3D is a win on GPUs and a loss on CPUs; compiling and checkpointing are options of the study.
    """
    if hasattr(model, "activation_checkpointing"):
        model.activation_checkpointing = compute.activation_checkpointing  # type: ignore[assignment]
    if device.type != "cuda":
        return model
    model = model.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if compute.compile:
        model.compile()  # in place: the state dict keeps its names
    return model
