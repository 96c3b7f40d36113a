"""The segmenter as plain tensors, with the architecture in words that MONAI understands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from diffuse_uda.config import GridConfig
from diffuse_uda.export.agreement import check_batches, require_same_logits
from diffuse_uda.export.network_definition import network_definition, stock_weights
from diffuse_uda.models.segmenter import Architecture

WEIGHTS_FILE = "model.safetensors"
ARCHITECTURE_FILE = "architecture.json"


def write_plain_weights(
    folder: Path, model: nn.Module, architecture: Architecture, grid: GridConfig, facts: Mapping[str, Any]
) -> float:
    """Write `model.safetensors` and `architecture.json`, and build the network anew from these two alone.

    Args:
        folder: Where they go.
        model: On the CPU, in evaluation mode.
        architecture: Of the model.
        grid: Of the model.
        facts: What else belongs beside the weights, such as names of classes.

    Returns:
        Largest difference of any logit between the model and what the two files give.

    Raises:
        ReleaseError: If they give another network.
    """
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in stock_weights(architecture, model.state_dict()).items()},
        folder / WEIGHTS_FILE,
    )
    description = {
        "network": {"imports": ["$import torch"], **network_definition(architecture)},
        "how_to": "monai.bundle.ConfigParser(network).get_parsed_content('network_def'), then load_state_dict",
        "input": {"shape": ["batch", 1, *grid.patch_size], "spacing_mm": list(grid.spacing_mm), "range": [0.0, 1.0]},
        **facts,
    }
    (folder / ARCHITECTURE_FILE).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    again = _network_from(folder)
    return require_same_logits("safetensors", model, again, check_batches(grid))


def _network_from(folder: Path) -> nn.Module:
    from monai.bundle import ConfigParser  # noqa: PLC0415 - seconds

    description = json.loads((folder / ARCHITECTURE_FILE).read_text(encoding="utf-8"))
    network: nn.Module = ConfigParser(description["network"]).get_parsed_content("network_def")
    network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_FILE))
    return network.eval()
