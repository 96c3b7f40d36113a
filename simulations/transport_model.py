"""What both apps of the transport bench share: a model, and a word to the bench when it is back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from flwr.app import Context
from flwr.serverapp import Grid
from torch import Tensor

CHANGE = 1e-3
"""What a site adds to every value. Flower sends equal tensors once, and a bench of those would measure nothing."""

LOOK_S = 0.5


def bench_model(num_tensors: int, model_bytes: int, *, seed: int) -> dict[str, Tensor]:
    """Random float32 weights; no two tensors are alike."""
    generator = torch.Generator().manual_seed(seed)
    size = max(1, model_bytes // (4 * num_tensors))
    return {f"layer{index:04d}": torch.randn(size, generator=generator) for index in range(num_tensors)}


def model_of(context: Context) -> dict[str, Tensor]:
    """The model that the run's options ask for."""
    run = context.run_config
    return bench_model(int(run["num-tensors"]), int(run["model-bytes"]), seed=int(run["seed"]))


def wait_for_site(grid: Grid) -> None:
    """Wait until a node is online."""
    while not list(grid.get_node_ids()):
        time.sleep(LOOK_S)


def report(context: Context, seconds: float, *, is_right: bool) -> None:
    """Tell the bench how long it took, and whether the right weights came back."""
    result = {"seconds": seconds, "is_right": is_right}
    Path(str(context.run_config["result-file"])).write_text(json.dumps(result), encoding="utf-8")


def is_changed(before: Tensor, after: Tensor) -> bool:
    """Whether the site's change is in a tensor that came back."""
    return bool(torch.allclose(after - before, torch.full_like(before, CHANGE), atol=1e-5))
