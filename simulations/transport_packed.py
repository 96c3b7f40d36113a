"""A model's round trip by this project's codec and rounds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.flower import decode_order, encode_reply
from diffuse_uda.exchange.orders import SiteCard, SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName, Task
from diffuse_uda.types import ModelName, SiteRole
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step
from simulations.transport_model import CHANGE, is_changed, model_of, report, wait_for_site

server, client = ServerApp(), ClientApp()


@server.main()
def serve_packed(grid: Grid, context: Context) -> None:
    """One round of this project's server: codec, gate, spool, average; without signatures and journal."""
    model = model_of(context)
    first = model["layer0000"].clone()
    wait_for_site(grid)
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
    report(context, seconds, is_right=is_changed(first, weights["layer0000"]))


@client.train(Task.WARM_UP.value)
def work_packed(message: Message, _context: Context) -> Message:
    """Change every value and reply."""
    _order, weights = decode_order(message.content)
    for tensor in weights.values():
        tensor.add_(CHANGE)
    return Message(encode_reply(SiteReply(num_examples=1, weights=weights)), reply_to=message)
