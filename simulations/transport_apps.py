"""Two Flower apps that do the same: a model goes out, comes back changed, and is averaged, plainly and our way.

`plain_server` and `plain_client` are Flower's own FedAvg on a state dict; `packed_server` and `packed_client` are this
project's rounds and codec. `simulations.bench_transport` runs both as processes and compares them.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.flower import decode_order, encode_reply
from diffuse_uda.exchange.orders import SiteCard, SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName, Task
from diffuse_uda.types import ModelName, SiteRole, StateDict
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step

CHANGE = 1e-3
"""What a site adds to every value. Flower sends equal tensors once, and a bench of those would measure nothing."""

LOOK_S = 0.5

plain_server, plain_client = ServerApp(), ClientApp()
packed_server, packed_client = ServerApp(), ClientApp()


def bench_model(num_tensors: int, model_bytes: int, *, seed: int) -> StateDict:
    """Random float32 weights; no two tensors are alike."""
    generator = torch.Generator().manual_seed(seed)
    size = max(1, model_bytes // (4 * num_tensors))
    return {f"layer{index:04d}": torch.randn(size, generator=generator) for index in range(num_tensors)}


def _model_of(context: Context) -> StateDict:
    run = context.run_config
    return bench_model(int(run["num-tensors"]), int(run["model-bytes"]), seed=int(run["seed"]))


def _wait_for_site(grid: Grid) -> None:
    while not list(grid.get_node_ids()):
        time.sleep(LOOK_S)


def _report(context: Context, seconds: float, *, is_right: bool) -> None:
    result = {"seconds": seconds, "is_right": is_right}
    Path(str(context.run_config["result-file"])).write_text(json.dumps(result), encoding="utf-8")


def _is_changed(before: torch.Tensor, after: torch.Tensor) -> bool:
    return bool(torch.allclose(after - before, torch.full_like(before, CHANGE), atol=1e-5))


@plain_server.main()
def serve_plainly(grid: Grid, context: Context) -> None:
    """One round of Flower's FedAvg."""
    model = _model_of(context)
    _wait_for_site(grid)
    started = time.monotonic()
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_evaluate_nodes=0, min_available_nodes=1)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(model), num_rounds=1)
    weights = result.arrays.to_torch_state_dict()
    seconds = time.monotonic() - started
    _report(context, seconds, is_right=_is_changed(model["layer0000"], weights["layer0000"]))


@plain_client.train()
def work_plainly(message: Message, _context: Context) -> Message:
    """Change every value and reply."""
    record = message.content["arrays"]
    weights = record.to_torch_state_dict() if isinstance(record, ArrayRecord) else {}
    changed = {name: tensor + CHANGE for name, tensor in weights.items()}
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": ArrayRecord(changed), "metrics": metrics}), reply_to=message)


@packed_server.main()
def serve_packed(grid: Grid, context: Context) -> None:
    """One round of this project's server: codec, gate, spool, average; without signatures and journal."""
    model = _model_of(context)
    first = model["layer0000"].clone()
    _wait_for_site(grid)
    config = StudyConfig()
    mail = Mail(grid)
    card = SiteCard(site_id="source", role=SiteRole.SOURCE, num_cases=1, label_names=("background", "ball"))
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        federation = FederatedPhases(
            config=config,
            mail=mail,
            sites=(card,),
            node_ids={"source": mail.nodes()[0]},
            models={ModelName.SEGMENTER: model},
            spool_dir=Path(folder),
            notify=lambda _event: None,
        )
        del model
        phase = next(phase for phase in build_method(config).phases if phase.name is PhaseName.WARM_UP)
        federation.run_step(Step(phase=phase, server_round=1))
        seconds = time.monotonic() - started
    weights = federation.models[ModelName.SEGMENTER]
    _report(context, seconds, is_right=_is_changed(first, weights["layer0000"]))


@packed_client.train(Task.WARM_UP.value)
def work_packed(message: Message, _context: Context) -> Message:
    """Change every value and reply."""
    _order, weights = decode_order(message.content)
    for tensor in weights.values():
        tensor.add_(CHANGE)
    return Message(encode_reply(SiteReply(num_examples=1, weights=weights)), reply_to=message)
