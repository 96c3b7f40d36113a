"""The server as a Flower app: read the study, meet the sites, walk the method, write everything down."""

from __future__ import annotations

import time

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from diffuse_uda.exchange.run_options import read_run_config
from diffuse_uda.methods import build_method
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName
from server.history import (
    Event,
    Listener,
    RoundFinished,
    RoundSaved,
    StudyFinished,
    StudyStarted,
    append_record,
    log_event,
)
from server.introductions import meet_sites
from server.mail import Mail
from server.run_folder import open_run_folder, save_models, save_scores, save_segmenters
from server.start import BEGINNING, load_starting_point, restore_record
from server.strategy import FederatedPhases
from server.workflow import require_membership, steps


def build_server_app(notify: Listener = log_event) -> ServerApp:
    """Make the server; `notify` is told what happens while it happens."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        started = time.monotonic()
        config, options = read_run_config(context.run_config)
        start = BEGINNING if options.start_from is None else load_starting_point(options.start_from)
        mail = Mail(grid)
        cards = meet_sites(mail, config, options)
        sites = require_membership(list(cards.values()), config)
        method = build_method(config, num_targets=len(sites) - 1)
        todo = list(steps(method, after=start.phase))
        open_run_folder(options.run_dir, config, sites)
        if options.start_from is not None:
            restore_record(options.start_from, options.run_dir)
        label_names = sites[0].label_names

        def tell(event: Event) -> None:
            if isinstance(event, RoundFinished):
                append_record(options.run_dir, event.record)
            notify(event)

        federation = FederatedPhases(
            config=config,
            mail=mail,
            sites=sites,
            node_ids={card.site_id: node_id for node_id, card in cards.items()},
            models={
                name: start.models.get(name) or initial_weights(config, name, len(label_names))
                for name in sorted({phase.model for phase in method.phases})
            },
            spool_dir=options.run_dir,
            notify=tell,
            denoiser_mean=start.denoiser_mean,
            own=dict(start.own),
        )
        metadata = {
            "config": config.to_flat(),
            "domains": [card.site_id for card in sites],
            "label_names": list(label_names),
        }
        site_ids = tuple(card.site_id for card in sites)
        tell(StudyStarted(name=config.name, method=method.name, site_ids=site_ids, num_rounds=len(todo)))
        for step in todo:
            record = federation.run_step(step)
            partner, model = step.phase.partner, step.phase.model
            weights = federation.models[model] if partner is None else federation.own[partner]
            save_models(options.run_dir, step, weights, federation.denoiser_mean, metadata)
            save_scores(options.run_dir, step, record)
            tell(
                RoundSaved(
                    phase=step.phase.label,
                    server_round=step.server_round,
                    num_rounds=step.phase.num_rounds,
                    checkpoint=step.phase.checkpoint,
                )
            )
        own = {sites[domain].site_id: weights for domain, weights in federation.own.items()}
        save_segmenters(options.run_dir, federation.models[ModelName.SEGMENTER], own, metadata)
        tell(StudyFinished(run_dir=options.run_dir, seconds=time.monotonic() - started))

    return app


app = build_server_app()
