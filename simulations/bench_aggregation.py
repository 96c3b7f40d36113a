"""How much memory the server needs for a round, in models: `python -m simulations.bench_aggregation`.

A process of its own runs one round of the server's own code. Its sites are a file: a reply appears when it is pulled,
as bytes, so whatever the process gains is the server's. Memory is what the operating system says (resident set),
because Python's own count sees neither torch's buffers nor numpy's.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
import psutil  # type: ignore[import-untyped]
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.flower import encode_reply
from diffuse_uda.exchange.orders import SiteCard, SiteReply
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.types import ModelName, SiteRole, StateDict
from server.mail import Mail
from server.strategy import FederatedPhases
from server.workflow import Step
from simulations.engines.local_grid import LocalGrid

NUM_TENSORS = 48
TENSOR_BYTES = 4 * 2**20
NUM_SITES = 4
SAMPLE_S = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class AggregationMemory:
    """Peak of one round above the process at rest."""

    peak_bytes: int
    model_bytes: int
    tensor_bytes: int
    """The largest tensor, which is also the size of a buffer."""
    num_sites: int

    @property
    def peak_models(self) -> float:
        """The peak in models, the global model included."""
        return self.peak_bytes / self.model_bytes

    @property
    def is_within_bound(self) -> bool:
        """Whether the peak is at most two models and one tensor, with 2 % for the allocator."""
        return self.peak_bytes <= 1.02 * (2 * self.model_bytes + self.tensor_bytes)

    def __str__(self) -> str:
        """Say it in one line."""
        tensor = self.tensor_bytes / self.model_bytes
        return (
            f"peak {self.peak_models:.2f} models with {self.num_sites} sites "
            f"(model {self.model_bytes / 2**20:.0f} MiB, one tensor {tensor:.2f} models)"
        )


def measure_aggregation() -> AggregationMemory:
    """Run the measurement in a fresh process.

    Raises:
        subprocess.CalledProcessError: If it failed.
    """
    command = [sys.executable, "-m", "simulations.bench_aggregation", "--json"]
    # Memory that is given back goes back to the system at once; otherwise the allocator's reserve would be counted.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, env=environment)  # noqa: S603
    return AggregationMemory(**json.loads(run.stdout))


class _FileGrid(LocalGrid):
    """Replies that exist on disk only, until one is pulled."""

    def __init__(self, replies: Path, num_nodes: int) -> None:
        super().__init__(ClientApp(), [{}] * num_nodes, {})
        self._records = _written(replies)
        self._file = replies
        self._waiting: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            message_id = str(message.metadata.dst_node_id)
            # What was sent is on its way; the envelope is needed to answer.
            message.content = RecordDict()
            self._waiting[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        (message_id,) = message_ids
        arrays = ArrayRecord()
        with self._file.open("rb") as file:
            for index, size in enumerate(self._records.sizes):
                arrays[str(index)] = Array("uint8", (size,), self._records.stype, file.read(size))
        content = RecordDict({**self._records.others, "weights": arrays})
        return [Message(content, reply_to=self._waiting.pop(message_id))]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Records:
    sizes: list[int]
    stype: str
    others: dict[str, ConfigRecord]


def _written(path: Path) -> _Records:
    """Write one reply's buffers to a file and keep everything else."""
    content = encode_reply(SiteReply(num_examples=3, weights=_model()))
    arrays = content.pop("weights")
    with path.open("wb") as file:
        sizes = [file.write(array.data) for array in arrays.values()]  # type: ignore[union-attr]
    stype = next(iter(arrays.values())).stype  # type: ignore[union-attr]
    return _Records(sizes=sizes, stype=stype, others=dict(content.items()))  # type: ignore[arg-type]


def _model() -> StateDict:
    return {f"layer{index:02d}": torch.ones(TENSOR_BYTES // 4) for index in range(NUM_TENSORS)}


def _cards() -> list[SiteCard]:
    source = SiteCard(site_id="source", role=SiteRole.SOURCE, num_cases=3, label_names=("background", "ball"))
    targets = [SiteCard(site_id=f"target-{index}", role=SiteRole.TARGET, num_cases=3) for index in range(1, NUM_SITES)]
    return [source, *targets]


def _measure() -> AggregationMemory:
    config = StudyConfig()
    phase = next(phase for phase in build_method(config).phases if phase.name is PhaseName.ADAPT)
    cards = _cards()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        grid = _FileGrid(folder / "reply", len(cards))
        gc.collect()
        with grid, peak_memory() as peak:
            federation = FederatedPhases(
                config=config,
                mail=Mail(grid),
                sites=tuple(cards),
                node_ids=dict(zip([card.site_id for card in cards], grid.get_node_ids(), strict=True)),
                models={ModelName.SEGMENTER: _model()},
                spool_dir=folder,
                notify=lambda _event: None,
            )
            federation.run_step(Step(phase=phase, server_round=1))
    return AggregationMemory(
        peak_bytes=peak[-1],
        model_bytes=NUM_TENSORS * TENSOR_BYTES,
        tensor_bytes=TENSOR_BYTES,
        num_sites=len(cards),
    )


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Sample this process's resident memory; the peak above the start is the list's last entry."""
    process = psutil.Process()
    start = process.memory_info().rss
    peak = [0]
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            peak[-1] = max(peak[-1], process.memory_info().rss - start)
            time.sleep(SAMPLE_S)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        over.set()
        sampler.join()


if __name__ == "__main__":
    measured = _measure()
    print(json.dumps(asdict(measured)) if "--json" in sys.argv else measured)  # noqa: T201 - output of a command
