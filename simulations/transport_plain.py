"""A model's round trip with nothing but Flower: FedAvg on a state dict. Nothing of this project's is loaded."""

from __future__ import annotations

import time

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from simulations.transport_model import CHANGE, is_changed, model_of, report, wait_for_site

server, client = ServerApp(), ClientApp()


@server.main()
def serve_plainly(grid: Grid, context: Context) -> None:
    """One round of Flower's FedAvg."""
    model = model_of(context)
    wait_for_site(grid)
    started = time.monotonic()
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_evaluate_nodes=0, min_available_nodes=1)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(model), num_rounds=1)
    weights = result.arrays.to_torch_state_dict()
    seconds = time.monotonic() - started
    report(context, seconds, is_right=is_changed(model["layer0000"], weights["layer0000"]))


@client.train()
def work_plainly(message: Message, _context: Context) -> Message:
    """Change every value and reply."""
    record = message.content["arrays"]
    weights = record.to_torch_state_dict() if isinstance(record, ArrayRecord) else {}
    changed = {name: tensor + CHANGE for name, tensor in weights.items()}
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": ArrayRecord(changed), "metrics": metrics}), reply_to=message)
