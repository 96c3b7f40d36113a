"""The federation in one process: the same server and client as in a hospital, no sockets, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context, RecordDict

from client.client_app import app as client_app
from diffuse_uda.training.interruption import allow_local_work, first_signal_waits, stop_local_work
from diffuse_uda.types import Scalar
from server.history import Event, log_event
from server.server_app import build_server_app
from simulations.engines.local_grid import RUN_ID, Delivery, LocalGrid, Return


def run_in_process(
    run_config: Mapping[str, Scalar],
    node_configs: Sequence[Mapping[str, Scalar]],
    *,
    num_workers: int = 1,
    on_event: Callable[[Event], None] = log_event,
    on_delivery: Delivery = lambda _message: None,
    on_return: Return = lambda reply: reply,
) -> None:
    """Run a whole study; the results are in the run folder.

    Weights do not depend on `num_workers` as long as the number of threads a site uses is the same, which
    `compute.num-threads` fixes; with 0 the sites of a round share the cores.

    Args:
        run_config: Flat keys of the study, `run-dir` and other options of the run.
        node_configs: One for each site: `site-id`, `role`, `data-dir`, `workspace`, ...
        num_workers: Sites that work at the same time.
        on_event: Told what happens while it happens, in the calling thread.
        on_delivery: Looks at, delays or breaks what is sent to a site; for tests.
        on_return: Looks at, changes or loses what a site replies; for tests.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once the round at work is on the disk; after the second one, once
            the sites have stopped; they look for it between two steps. The same call goes on after the last round.
        DiffuseUdaError: As the server raises it.
    """
    configs = [{"shares-machine": num_workers > 1, **node_config} for node_config in node_configs]
    context = Context(run_id=RUN_ID, node_id=0, node_config={}, state=RecordDict(), run_config=dict(run_config))
    try:
        with LocalGrid(
            client_app, configs, run_config, num_workers=num_workers, on_delivery=on_delivery, on_return=on_return
        ) as grid:
            try:
                with first_signal_waits() as stop_asked:
                    build_server_app(on_event, stop_asked=stop_asked)(grid, context)
            finally:
                # Whatever ended the study, nobody waits for the rest of a round that no longer counts.
                stop_local_work()
    finally:
        allow_local_work()
