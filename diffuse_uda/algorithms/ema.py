"""Exponential moving averages of weights: the mean teacher, and the denoiser that is sampled from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffuse_uda.types import StateDict


def ema_decay(step: int, decay_max: float = 0.99) -> float:
    """Decay of the mean teacher, min(1 - 1 / (step + 1), decay_max) (Tarvainen and Valpola 2017, arXiv:1703.01780).

    Step 0 gives 0 (the teacher becomes a copy), and the average stays a plain mean over all students until
    `decay_max` takes over: the random start is forgotten at once.

    Args:
        step: Optimiser steps done before this update, from 0.
        decay_max: Share of the teacher that is kept in the long run, in [0, 1].

    Returns:
        The share of the teacher to keep at this step, in [0, decay_max].

    Raises:
        ValueError: If the step is negative or the decay is outside [0, 1].
    """
    _require_valid(step, decay_max)
    return min(1.0 - 1.0 / (step + 1.0), decay_max)


def ema_warm_up_decay(step: int, decay_max: float) -> float:
    """Decay of the denoiser's weights, min((1 + step) / (10 + step), decay_max).

    It starts at 0.1, reaches 0.9 at step 80 and 0.99 at step 890: the first, random weights are soon forgotten.

    Args:
        step: Optimiser steps done before this update, from 0.
        decay_max: Share that is kept in the long run, in [0, 1]; 0.995 in Diffuse-UDA.

    Returns:
        The share of the average to keep at this step.

    Raises:
        ValueError: If the step is negative or the decay is outside [0, 1].
    """
    _require_valid(step, decay_max)
    return min((1.0 + step) / (10.0 + step), decay_max)


def update_ema_(teacher: nn.Module | StateDict, student: nn.Module | StateDict, decay: float) -> None:
    """Move the teacher towards the student in place: teacher = decay * teacher + (1 - decay) * student.

    Parameters are averaged. Buffers are copied, because a running statistic is an average already; where only a
    StateDict tells (it does not know what a buffer is), integer tensors are copied and floating ones averaged.

    Args:
        teacher: The model that follows. Keep it in float32: smaller steps than half precision resolves would be lost.
        student: The model that leads, on any device and in any precision; it is left as it is.
        decay: Share of the teacher to keep, in [0, 1]: 0 copies the student, 1 leaves the teacher.

    Raises:
        ValueError: If the two do not have the same names and shapes, or the decay is outside [0, 1].
    """
    _require_valid(0, decay)
    teacher_weights, student_weights = _weights(teacher), _weights(student)
    if teacher_weights.keys() != student_weights.keys():
        differing = sorted(teacher_weights.keys() ^ student_weights.keys())
        msg = f"teacher and student are different models: {differing[:5]} are in one of them only"
        raise ValueError(msg)
    for name, weight in teacher_weights.items():
        if weight.shape != student_weights[name].shape:
            msg = f"{name} is {tuple(weight.shape)} in the teacher, {tuple(student_weights[name].shape)} in the student"
            raise ValueError(msg)
    buffers = _buffer_names(teacher) | _buffer_names(student)
    with torch.no_grad():
        for name, weight in teacher_weights.items():
            if name in buffers or not weight.is_floating_point():
                weight.copy_(student_weights[name])
            else:
                weight.lerp_(student_weights[name].to(weight), 1.0 - decay)


def _weights(model: nn.Module | StateDict) -> dict[str, Tensor]:
    """Name every tensor once: a parameter that two layers share must not be averaged twice."""
    if not isinstance(model, nn.Module):
        return model
    weights: dict[str, Tensor] = dict(model.named_parameters())
    persistent = model.state_dict().keys()
    return weights | {name: buffer for name, buffer in model.named_buffers() if name in persistent}


def _buffer_names(model: nn.Module | StateDict) -> set[str]:
    """Names of the buffers, as far as the model knows which of its tensors are buffers."""
    return {name for name, _ in model.named_buffers()} if isinstance(model, nn.Module) else set()


def _require_valid(step: int, decay: float) -> None:
    """Refuse a step before the start and a decay that is no share."""
    if step < 0:
        msg = f"step must be 0 or more, got {step}"
        raise ValueError(msg)
    if not 0.0 <= decay <= 1.0:
        msg = f"decay must be in [0, 1], got {decay}"
        raise ValueError(msg)
