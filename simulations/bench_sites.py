"""What a round costs the server with 3, 10 and 50 sites: `python -m simulations.bench_sites --json 10`.

A process of its own for every number of sites runs rounds of the server's own code. Replies are made when they are
pulled; that time, which a hospital would spend, is taken off. The model is tiny, so that what is measured is the
machinery: orders, checks, spool, history, average.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
import torch
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from diffuse_uda.config import AdaptConfig, StudyConfig
from diffuse_uda.exchange.flower import encode_reply
from diffuse_uda.exchange.orders import SiteCard, SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.types import ModelName, SiteRole, StateDict
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step
from simulations.bench_aggregation import peak_memory
from simulations.engines.local_grid import LocalGrid

NUM_SITES = (3, 10, 50)
NUM_TENSORS = 40
TENSOR_BYTES = 64 * 2**10
NUM_ROUNDS = 4
"""The first one is not counted: it pays for everything that is done once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCost:
    """What rounds with so many sites cost."""

    num_sites: int
    seconds_per_round: float
    """Of the server alone, mean of the rounds that count."""
    cpu_seconds_per_round: float
    """The same of its processor: other programs on the machine make no difference."""
    peak_bytes: int
    """Above the process at rest, with the model in memory."""
    model_bytes: int


def measure_sites(num_sites: int, *, seed: int = 0) -> ServerCost:
    """Run the measurement in a fresh process.

    Raises:
        subprocess.CalledProcessError: If it failed.
    """
    command = [sys.executable, "-m", "simulations.bench_sites", "--json", str(num_sites), str(seed)]
    # Memory that is given back goes back to the system at once; otherwise the allocator's reserve would be counted.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, env=environment)  # noqa: S603
    return ServerCost(**json.loads(run.stdout))


@dataclass(frozen=True, slots=True)
class _Stopwatch:
    """Wall time and processor time, in seconds."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def now(cls) -> _Stopwatch:
        """What both clocks show."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: _Stopwatch) -> _Stopwatch:
        """Both sums."""
        return _Stopwatch(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: _Stopwatch) -> _Stopwatch:
        """Both differences."""
        return _Stopwatch(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


class _EchoGrid(LocalGrid):
    """Sites that change the model a little, each in its own way; making their replies is timed apart."""

    def __init__(self, num_nodes: int, model: StateDict, *, seed: int) -> None:
        super().__init__(ClientApp(), [{}] * num_nodes, {})
        self.model, self._seed = model, seed
        self._waiting: dict[str, Message] = {}
        self.outside = _Stopwatch()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            message_id = str(message.metadata.dst_node_id)
            message.content = RecordDict()
            self._waiting[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        started = _Stopwatch.now()
        (message_id,) = message_ids
        generator = torch.Generator().manual_seed(self._seed + int(message_id))
        weights = {
            name: tensor + 1e-3 * torch.randn(tensor.shape, generator=generator) for name, tensor in self.model.items()
        }
        content = encode_reply(SiteReply(num_examples=3, weights=weights))
        reply = Message(content, reply_to=self._waiting.pop(message_id))
        self.outside = self.outside + (_Stopwatch.now() - started)
        return [reply]


def _measure(num_sites: int, seed: int) -> ServerCost:
    config = StudyConfig(adapt=AdaptConfig(num_rounds=NUM_ROUNDS))
    phase = next(phase for phase in build_method(config).phases if phase.name is PhaseName.ADAPT)
    generator = torch.Generator().manual_seed(seed)
    model = {f"layer{index:02d}": torch.randn(TENSOR_BYTES // 4, generator=generator) for index in range(NUM_TENSORS)}
    source = SiteCard(site_id="source", role=SiteRole.SOURCE, num_cases=3, label_names=("background", "ball"))
    targets = [
        SiteCard(site_id=f"target-{index:02d}", role=SiteRole.TARGET, num_cases=3) for index in range(1, num_sites)
    ]
    rounds: list[_Stopwatch] = []
    grid = _EchoGrid(num_sites, model, seed=seed)
    with tempfile.TemporaryDirectory() as folder, grid:
        federation = FederatedPhases(
            config=config,
            mail=Mail(grid),
            sites=(source, *targets),
            node_ids=dict(zip([card.site_id for card in (source, *targets)], grid.get_node_ids(), strict=True)),
            models={ModelName.SEGMENTER: {name: tensor.clone() for name, tensor in model.items()}},
            spool_dir=Path(folder),
            notify=lambda _event: None,
        )
        with peak_memory() as peak:
            for server_round in range(1, NUM_ROUNDS + 1):
                grid.outside, started = _Stopwatch(), _Stopwatch.now()
                record = federation.run_step(Step(phase=phase, server_round=server_round, number=server_round))
                rounds.append(_Stopwatch.now() - started - grid.outside)
                if wrong := {name: site.reason for name, site in record.sites.items() if site.share == 0.0}:
                    msg = f"sites were left out: {wrong}"
                    raise RuntimeError(msg)
                grid.model = federation.models[ModelName.SEGMENTER]  # what the sites receive next
    counted = rounds[1:]
    return ServerCost(
        num_sites=num_sites,
        seconds_per_round=sum(each.wall_s for each in counted) / len(counted),
        cpu_seconds_per_round=sum(each.cpu_s for each in counted) / len(counted),
        peak_bytes=peak[-1],
        model_bytes=NUM_TENSORS * TENSOR_BYTES,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201 - output of a command
