"""How much memory a training step needs, measured on a small crop and scaled, before anything is started."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import MemoryEstimateError
from diffuse_uda.models.build import build_model
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.training.cgroups import cgroup_free_bytes
from diffuse_uda.types import ModelName

GIB = 2**30
MARGIN = 1.3
"""Allocator fragmentation, workspaces of the convolutions, batches in flight."""
_COPIES = 4
"""Of every parameter: itself, its gradient, two moments of AdamW."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """What one training step of one model needs, in bytes."""

    model: ModelName
    fixed_bytes: int
    """Parameters, gradients, moments, and the teacher of a segmenter."""
    volume_bytes: int
    """Activations kept for the backward pass, for each volume of the batch."""

    @property
    def weights_bytes(self) -> int:
        """The parameters alone, once: what travels."""
        return self.fixed_bytes // _copies(self.model)

    def step_bytes(self, num_volumes: int) -> int:
        """Bytes of a step with `num_volumes` in one pass, with a margin."""
        return int(MARGIN * (self.fixed_bytes + num_volumes * self.volume_bytes))


@functools.lru_cache(maxsize=8)
def estimate_memory(config: StudyConfig, name: ModelName, num_classes: int, *, half: bool) -> MemoryEstimate:
    """Measure the activations of one small crop on the CPU and scale them to a patch.

    Args:
        config: Sizes of model and patch, activation checkpointing.
        name: Which model.
        num_classes: Classes, background included.
        half: Whether activations are bf16 (autocast on a GPU).
    """
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, name, num_classes)
    levels = config.segmenter.num_levels if name is ModelName.SEGMENTER else len(config.denoiser.channels)
    stem = config.segmenter.stem if name is ModelName.SEGMENTER else config.denoiser.stem
    size = stem * 2**levels  # two positions at the coarsest level: instance norm needs more than one
    recomputed = model.blocks if isinstance(model, Denoiser) and config.compute.activation_checkpointing else ()
    saved = _saved_bytes(model, size, num_classes, recomputed)
    i, j, k = config.grid.patch_size
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    volume_bytes = saved * (i * j * k) // size**3
    return MemoryEstimate(
        model=name, fixed_bytes=_copies(name) * parameters, volume_bytes=volume_bytes // 2 if half else volume_bytes
    )


def largest_batch(
    config: StudyConfig, name: ModelName, num_classes: int, *, wanted: int, smallest: int, device: torch.device
) -> int:
    """The wanted batch if it fits the memory that is free on the device, else the largest that does.

    Args:
        config: Sizes of model and patch.
        name: Which model.
        num_classes: Classes, background included.
        wanted: Volumes in one pass, as configured.
        smallest: Volumes below which the step makes no sense (a CutMix pair is two).
        device: Where the step will run.

    Raises:
        MemoryEstimateError: If not even the smallest batch fits; the message says what would.
    """
    estimate = estimate_memory(config, name, num_classes, half=device.type == "cuda" and config.compute.amp)
    free = free_bytes(device)
    for volumes in range(wanted, smallest - 1, -1):
        if estimate.step_bytes(volumes) <= free:
            return volumes
    needed = estimate.step_bytes(smallest)
    msg = (
        f"one step of the {name.value} needs about {needed / GIB:.1f} GiB with {smallest} volumes of "
        f"{config.grid.patch_size} voxels; {free / GIB:.1f} GiB are free on {device}; set a smaller grid.patch-size or "
        "fewer channels, or compute.activation-checkpointing = true for the denoiser"
    )
    raise MemoryEstimateError(msg)


def describe_memory(config: StudyConfig, num_classes: int, device: torch.device) -> str:
    """One line an operator reads before a run: needed and free, for both models."""
    half = device.type == "cuda" and config.compute.amp
    parts = [
        f"{name.value} {estimate_memory(config, name, num_classes, half=half).step_bytes(volumes) / GIB:.1f} GiB "
        f"({volumes} volumes)"
        for name, volumes in volumes_of_a_step(config).items()
    ]
    return f"memory of one step: {', '.join(parts)}; free on {device}: {free_bytes(device) / GIB:.1f} GiB"


def volumes_of_a_step(config: StudyConfig) -> dict[ModelName, int]:
    """Volumes in one pass of either model, at the most: every example of the segmenter is seen in two looks."""
    return {
        ModelName.SEGMENTER: 2 * max(config.warm_up.batch_size, config.adapt.batch_size, config.refine.batch_size),
        ModelName.DENOISER: config.diffuse.batch_size,
    }


def free_bytes(device: torch.device) -> int:
    """Bytes that are free on a GPU, or in main memory as far as this process' control groups let it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    machine = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + _page_cache_bytes()
    allowed = cgroup_free_bytes()
    return machine if allowed is None else min(machine, allowed)


def _copies(name: ModelName) -> int:
    return _COPIES + (1 if name is ModelName.SEGMENTER else 0)


def _page_cache_bytes() -> int:
    """Memory that holds file contents and would be given up; where the system does not tell, none."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - a kernel interface, not a path of ours
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["Cached"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def _saved_bytes(model: nn.Module, size: int, num_classes: int, recomputed: Sequence[nn.Module]) -> int:
    """Bytes of the distinct tensors that autograd keeps for one volume of `size` voxels a side.

    Of the blocks in `recomputed`, the backward pass holds one at a time, beside what all of them returned.
    """
    storages: dict[int, int] = {}
    returned: dict[int, int] = {}
    inside: list[int] = []
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(*_: object) -> None:
        inside.append(-sum(storages.values()))

    def leave(_block: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, list[Tensor]]) -> None:
        inside[-1] += sum(storages.values())
        for tensor in [output] if isinstance(output, Tensor) else [output[0], *output[1]]:
            returned[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()

    for block in recomputed:
        block.register_forward_pre_hook(enter)
        block.register_forward_hook(leave)
    volume = torch.zeros(1, 1, size, size, size)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        if isinstance(model, Denoiser):
            condition = torch.zeros(1, num_classes, size, size, size)
            output = model(volume, torch.zeros(1), condition, torch.zeros(1, dtype=torch.long))
        else:
            output = model(volume)
        kept = output.sum()  # keeps the graph, and with it every counted storage, alive until here
    del kept
    return sum(storages.values()) - sum(inside) + sum(returned.values()) + max(inside, default=0)
