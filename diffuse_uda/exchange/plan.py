"""What a site works out by itself from the study: its hash, its phases, the forms of its models. No server is asked."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Phase
from diffuse_uda.models import build_model
from diffuse_uda.types import ModelName


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorForm:
    """What a tensor looks like without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype


FREE = ("federation.", "name")
"""Beginnings of the keys that say nothing about a site's work: a run may go on with others."""


def plan_hash(config: StudyConfig) -> str:
    """SHA-256 (hex) of everything a study asks of its sites; a hospital can approve a study by it."""
    asked = {key: value for key, value in config.to_flat().items() if not key.startswith(FREE)}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def phases_of(config: StudyConfig, num_targets: int) -> tuple[Phase, ...]:
    """Phases of the study's method, written out for every target, in their order."""
    return build_method(config, num_targets=num_targets).phases


def phase_of(config: StudyConfig, order: WorkOrder) -> Phase:
    """The phase that an order speaks of.

    Raises:
        RefusalError: If the study's method has no such phase.
    """
    for phase in phases_of(config, len(order.domains) - 1):
        if phase.label == order.phase:
            return phase
    words = f"method {config.method!r} has no such phase; were server and site given the same study?"
    raise RefusalError("order refused", [("unknown-phase", words)])


def forms_of(weights: Mapping[str, Tensor]) -> dict[str, TensorForm]:
    """Forms of given tensors."""
    return {name: TensorForm(shape=tuple(tensor.shape), dtype=tensor.dtype) for name, tensor in weights.items()}


@functools.lru_cache(maxsize=8)
def model_forms(config: StudyConfig, name: ModelName, num_classes: int) -> Mapping[str, TensorForm]:
    """Forms of a model's tensors as this site would build it; no numbers are made, nothing is drawn."""
    with torch.device("meta"):
        return forms_of(build_model(config, name, num_classes).state_dict())
