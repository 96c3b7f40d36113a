"""Free memory against what one training step needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffuse_uda.config import StudyConfig
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned
from diffuse_uda.training.memory import GIB, estimate_memory, free_bytes, volumes_of_a_step
from diffuse_uda.types import ModelName

ROOM = 1.5
"""Flower's own processes hold four to five models each, beside the step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """What a step of one model needs, as configured and at the least."""

    model: ModelName
    volumes: int
    needed_bytes: int
    least_bytes: int
    """With the smallest batch that a site falls back to: one example on a GPU; a CPU takes the batch or refuses."""


def expected_steps(config: StudyConfig, num_classes: int, device: torch.device) -> list[StepMemory]:
    """Estimate a step of both models.

    Args:
        config: Sizes and batches.
        num_classes: Classes, background included.
        device: Where the steps will run.
    """
    half = device.type == "cuda" and config.compute.amp
    steps = []
    for model, volumes in volumes_of_a_step(config).items():
        estimate = estimate_memory(config, model, num_classes, half=half)
        least = (2 if model is ModelName.SEGMENTER else 1) if device.type == "cuda" else volumes
        steps.append(
            StepMemory(
                model=model,
                volumes=volumes,
                needed_bytes=estimate.step_bytes(volumes),
                least_bytes=estimate.step_bytes(least),
            )
        )
    return steps


def check_memory(config: StudyConfig, num_classes: int, device: torch.device) -> Verdict:
    """Measure a small crop of both models, scale it, and compare with the device's free memory."""
    return judge_memory(expected_steps(config, num_classes, device), free_bytes(device), device.type)


def judge_memory(steps: list[StepMemory], free: int, device: str) -> Verdict:
    """Every step fits, with room for the processes around it.

    Args:
        steps: Steps that a run takes, one at a time.
        free: Bytes that are free on the device, control groups respected.
        device: `cpu` or `cuda`, for the words.
    """
    words = ", ".join(f"{one.model.value} {one.needed_bytes / GIB:.2f} GiB ({one.volumes} volumes)" for one in steps)
    needed, least = max(one.needed_bytes for one in steps), max(one.least_bytes for one in steps)
    found = f"{free / GIB:.2f} GiB free on {device}; one step: {words}"
    wanted = f"{ROOM * needed / GIB:.2f} GiB or more"
    fix = (
        "free memory or raise the container's limit, or set a smaller grid.patch-size, fewer channels, or "
        "compute.activation-checkpointing = true"
    )
    if free < least:
        return failed("memory", found, wanted, fix)
    if free < needed:
        return warned("memory", found, wanted, f"smaller batches will be taken; {fix}")
    if free < ROOM * needed:
        return warned("memory", found, wanted, fix)
    return passed("memory", found, wanted)
