"""The server as a Flower app: read the study, meet the sites, walk the method, write everything down.

A run that was interrupted goes on when the same command is given again: see `server.journal`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.data.storage import written_patiently
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.run_options import RunOptions, read_run_config
from diffuse_uda.landmarks import Landmark, passing
from diffuse_uda.methods import build_method
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName, StateDict
from server.ending import Ending, RunEnd, recorded_end
from server.history import Event, Listener, RoundSaved, StudyFinished, StudyStarted, log_event
from server.introductions import meet_sites
from server.journal import JOURNAL_FILE, Happening, Journal
from server.mail import Mail
from server.mlflow_events import MlflowEvents
from server.plan_files import write_plan
from server.register import Register
from server.resume import (
    Resumption,
    Unfinished,
    describe_sites,
    describe_study,
    find_resumption,
    has_finished,
    kept_numbers,
    last_used,
    require_same_run,
    restore_views,
    unfinished_run,
)
from server.round_checkpoints import keep_only
from server.run_folder import changed_models, open_run_folder, save_segmenters
from server.run_record import RunRecord
from server.start import BEGINNING, load_starting_point, restore_record
from server.strategy import FederatedPhases
from server.tensorboard_events import TensorBoardEvents
from server.workflow import Step, require_membership, steps


def new_run_name() -> str:
    """A name that no other run has."""
    return secrets.token_hex(8)


def build_server_app(
    notify: Listener = log_event,
    *,
    stop_asked: Callable[[], bool] = lambda: False,
    name_run: Callable[[], str] = new_run_name,
) -> ServerApp:
    """Make the server.

    Args:
        notify: Told what happens while it happens.
        stop_asked: Looked at after every round: whether the run shall end there, to go on another time.
        name_run: Names a new run.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        config, options = read_run_config(context.run_config)
        with run_lock(options.run_dir), recorded_end(options.run_dir) as before:
            if _lacks_only_its_end(before, config, options):
                keep_only(options.run_dir, [])
                notify(StudyFinished(run_dir=options.run_dir, seconds=0.0))
            else:
                _run_study(grid, config, options, notify=notify, stop_asked=stop_asked, name_run=name_run)

    return app


def _run_study(
    grid: Grid,
    config: StudyConfig,
    options: RunOptions,
    *,
    notify: Listener,
    stop_asked: Callable[[], bool],
    name_run: Callable[[], str],
) -> None:
    started = time.monotonic()
    mlflow = [MlflowEvents(options.run_dir, options.mlflow)] if options.mlflow else []
    found = _to_go_on(options)
    study = describe_study(config, options.start_from)
    if found is not None:
        require_same_run(found, study)
    resumption = None if found is None else find_resumption(options.run_dir, found)
    start = BEGINNING if options.start_from is None else load_starting_point(options.start_from)
    start = start if resumption is None else resumption.start
    run = name_run() if found is None else found.run
    fall_backs = 0 if resumption is None else resumption.fall_backs
    register = Register(options.run_dir, run=run, plan=plan_hash(config), fall_backs=fall_backs)
    mail = Mail(grid, register=register)
    cards = meet_sites(mail, config, options, expected=() if found is None else found.description["sites"])
    sites = require_membership(list(cards.values()), config)
    if found is not None:
        require_same_run(found, describe_sites(sites))
    method = build_method(config, num_targets=len(sites) - 1)
    todo = [step for step in steps(method, after=start.phase) if step.number > start.number]
    if resumption is None:
        open_run_folder(options.run_dir, config, sites)
        if options.start_from is not None:
            restore_record(options.start_from, options.run_dir)
    else:
        restore_views(options.run_dir, resumption)
    write_plan(options.run_dir, config, sites)
    label_names = sites[0].label_names
    record = _open_record(
        options,
        resumption,
        {
            "config": config.to_flat(),
            "domains": [card.site_id for card in sites],
            "label_names": list(label_names),
        },
    )
    if resumption is None:
        description = {**study, **describe_sites(sites)}
        record.journal.append(Happening.STARTED, {"run": run, "description": description})
    else:
        going_on = {"number": start.number, "damaged": list(resumption.damaged)}
        record.journal.append(Happening.RESUMED, going_on)

    listeners: list[Listener] = [record.hear, register.hear, notify, TensorBoardEvents(options.run_dir), *mlflow]

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

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
        last_used={} if resumption is None else last_used(resumption.commits),
    )
    site_ids = tuple(card.site_id for card in sites)
    tell(StudyStarted(name=config.name, method=method.name, site_ids=site_ids, num_rounds=len(todo), run=run))
    _carry_out(todo, federation, record, tell, stop_asked)
    own = {sites[domain].site_id: weights for domain, weights in federation.own.items()}
    _finish(options, record, federation.models.get(ModelName.SEGMENTER), own)
    tell(StudyFinished(run_dir=options.run_dir, seconds=time.monotonic() - started))


def _carry_out(
    todo: Sequence[Step],
    federation: FederatedPhases,
    record: RunRecord,
    tell: Listener,
    stop_asked: Callable[[], bool],
) -> None:
    """One round after another, each on the disk before the next one begins."""
    for step in todo:
        round_record = federation.run_step(step)
        partner, model = step.phase.partner, step.phase.model
        weights = federation.models[model] if partner is None else federation.own[partner]
        record.commit(step, changed_models(step, weights, federation.denoiser_mean), round_record)
        tell(
            RoundSaved(
                phase=step.phase.label,
                server_round=step.server_round,
                num_rounds=step.phase.num_rounds,
                checkpoint=step.phase.checkpoint,
            )
        )
        if stop_asked() and step is not todo[-1]:
            record.journal.append(Happening.STOPPED, {"number": step.number})
            raise KeyboardInterrupt


def _finish(options: RunOptions, record: RunRecord, common: StateDict | None, own: Mapping[str, StateDict]) -> None:
    """Put the results where people look for them, and what a run goes on from away; a run for a plan has no model."""
    run_dir = options.run_dir
    if common is not None:
        written_patiently(
            lambda: save_segmenters(run_dir, common, own, record.facts), run_dir, patience_s=record.patience_s
        )
    record.journal.append(Happening.FINISHED, {})
    passing(Landmark.BEFORE_END)
    keep_only(run_dir, [])


def _lacks_only_its_end(before: Ending | None, config: StudyConfig, options: RunOptions) -> bool:
    """Whether the command's run was killed when everything was done but saying so."""
    return (
        before is not None
        and before.end is RunEnd.KILLED
        and options.start_from is None
        and options.resume
        and has_finished(options.run_dir, describe_study(config, None))
    )


def _to_go_on(options: RunOptions) -> Unfinished | None:
    """The run that a command goes on with; none if it says where to begin, or that it shall begin anew."""
    if options.start_from is not None or not options.resume:
        return None
    return unfinished_run(options.run_dir)


def _open_record(options: RunOptions, resumption: Resumption | None, facts: dict[str, object]) -> RunRecord:
    journal = Journal(options.run_dir / JOURNAL_FILE)
    if resumption is None:
        return RunRecord(run_dir=options.run_dir, journal=journal, facts=facts)
    return RunRecord(
        run_dir=options.run_dir,
        journal=journal,
        facts=facts,
        checkpoint=resumption.checkpoint,
        kept=kept_numbers(resumption.commits),
    )


app = build_server_app()
