"""The same methods with all scans in one place: a reference that no federation could run, and nothing else.

Where a federation averages the weights of its sites, this takes joint steps: one student, one optimiser, and the loss

    L = sum over sites of share_i * L_i

with the shares of the average and the very losses of the sites. One SGD step of it is one round of single SGD steps at
every site: sum over i of share_i * (theta - eta * grad L_i) = theta - eta * grad L. A target that takes a fraction of
the source's steps joins in as many of the joint ones, evenly spread. What stays at a site (pseudo-labels, rendering,
evaluation) is done by the sites' own tasks, with the pooled model.

Three things differ from the federation on purpose. Looks are `paired`, from real scans of the other side (ASC,
arXiv:2310.14172). There is one mean teacher, of the joint student. The ramp of the consistency is a factor on its loss.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from client.segmentation_tasks import following, remember
from client.site import Site
from client.tasks import introduce, run_task
from client.workplace import Workplace, open_workplace
from diffuse_uda.algorithms.aggregation import site_weights
from diffuse_uda.algorithms.ema import update_ema_
from diffuse_uda.config import FitConfig, StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange, Phase, PhaseName, Task
from diffuse_uda.models import initial_weights
from diffuse_uda.training.fitting import WEIGHT_DECAY, fit
from diffuse_uda.training.schedule import RoundPlan
from diffuse_uda.types import ModelName, StateDict
from server.history import (
    HISTORY_FILE,
    Listener,
    RoundFinished,
    RoundRecord,
    RoundStarted,
    SiteRecord,
    SiteState,
    StudyFinished,
    StudyStarted,
    append_record,
    log_event,
)
from server.workflow import Step, assignments, fit_config, require_membership, steps, work_order
from simulations.joint_loss import Term, evenly_spread, joint_loss, ramp_of, site_loss, undilute_rows

SUFFIX = "-centralised"
"""Behind every row of this reference."""

REMEMBERING = frozenset({Task.ADAPT_TARGET, Task.REFINE_TARGET})
"""Tasks before which a target remembers what it received, for the ensemble that labels."""

WITH_TEACHER = REMEMBERING | {Task.ENSEMBLE}
"""Tasks that read the teacher."""


@dataclass(kw_only=True)
class Pool:
    """All scans, one model of each kind."""

    config: StudyConfig
    sites: Mapping[str, Site]
    cards: tuple[SiteCard, ...]
    """In the order of their domains."""
    models: dict[ModelName, StateDict]
    has_paired_looks: bool = True
    denoiser_mean: StateDict | None = None
    """Running mean of the denoiser over its rounds; it is what renders."""
    own: dict[int, StateDict] = field(default_factory=dict)
    """Segmenters of single targets, by domain."""
    teacher: StateDict | None = None
    """Mean teacher, from round to round of a phase."""
    optimizer_state: dict[str, object] | None = None
    """Moments, from round to round of a phase."""


def run_centralised(
    config: StudyConfig,
    sites: Sequence[Site],
    run_dir: Path,
    *,
    has_paired_looks: bool = True,
    on_event: Listener = log_event,
) -> None:
    """Run `config.method` with all scans in one place.

    Every site's scores go to `evaluation/<row>-centralised/` in its workspace, and one line a round to `history.jsonl`
    in the run's folder, in the form of a federated run; no byte is exchanged.

    Args:
        config: The study; its exchange is not read, its style provider only without paired looks.
        sites: One source and at least one target, with workspaces of their own: what an earlier run left is forgotten.
        run_dir: Existing folder without a history.
        has_paired_looks: Whether looks come from real scans of the other side, as published; False leaves every site
            the looks it could make in a federation, so that pooling is all that differs.
        on_event: Told what happens while it happens.

    Raises:
        ConfigError: If the folder holds the history of another run, or the sites do not make a study.
        InputError: With everything that is wrong with a site's folder.
    """
    if (run_dir / HISTORY_FILE).exists():
        msg = f"{run_dir} already holds a {HISTORY_FILE}; wanted a folder of this run's own"
        raise ConfigError(msg)
    started = time.monotonic()
    cards = require_membership([introduce(site, config) for site in sites], config)
    method = build_method(config, num_targets=len(cards) - 1)
    pool = Pool(
        has_paired_looks=has_paired_looks,
        config=config,
        sites={site.site_id: site for site in sites},
        cards=cards,
        models={
            name: initial_weights(config, name, len(cards[0].label_names))
            for name in sorted({phase.model for phase in method.phases})
        },
    )
    todo = list(steps(method))
    site_ids = tuple(card.site_id for card in cards)
    on_event(StudyStarted(name=config.name, method=method.name + SUFFIX, site_ids=site_ids, num_rounds=len(todo)))
    for step in todo:
        record = _take(pool, step, on_event)
        append_record(run_dir, record)
        on_event(RoundFinished(record=record))
    on_event(StudyFinished(run_dir=run_dir, seconds=time.monotonic() - started))


def _take(pool: Pool, step: Step, on_event: Listener) -> RoundRecord:
    """Carry out one round; `pool` holds what came of it."""
    phase, started = step.phase, time.monotonic()
    asked = tuple(assignments(phase, pool.cards))
    on_event(
        RoundStarted(phase=phase.label, server_round=step.server_round, num_rounds=phase.num_rounds, site_ids=asked)
    )
    if phase.exchange is Exchange.NOTHING:
        sites = work_at_sites(pool, step)
    elif phase.name is PhaseName.DESCRIBE:
        sites = describe_in_turn(pool, step)
    elif phase.partner is None:
        sites = train_jointly(pool, step)
    else:
        common = pool.models[phase.model]
        pool.models[phase.model] = pool.own.get(phase.partner, common)
        sites = train_jointly(pool, step)
        pool.own[phase.partner], pool.models[phase.model] = pool.models[phase.model], common
    seconds = time.monotonic() - started
    return RoundRecord(
        phase=phase.label,
        row=_row(phase),
        model=phase.model,
        server_round=step.server_round,
        num_rounds=phase.num_rounds,
        num_tensors=len(pool.models[phase.model]),
        sites=sites,
        seconds=seconds,
        seconds_at_work=seconds,
    )


def work_at_sites(pool: Pool, step: Step) -> dict[str, SiteRecord]:
    """Let every site do its own task with the pooled model; what comes of it stays in the site's workspace."""
    weights = pool.models[step.phase.model]
    if step.phase.model is ModelName.DENOISER and pool.denoiser_mean is not None:
        weights = pool.denoiser_mean
    records = {}
    own = pool.own if step.phase.model is ModelName.SEGMENTER else {}
    for site_id, order in _orders(pool, step).items():
        reply = run_task(pool.sites[site_id], pool.config, order, own.get(order.domains.index(site_id), weights))
        records[site_id] = _used(reply)
    return records


def describe_in_turn(pool: Pool, step: Step) -> dict[str, SiteRecord]:
    """Let every site put its row into the one class table; there is nothing to train, so nothing to take jointly."""
    records = {}
    for site_id, order in _orders(pool, step).items():
        reply = run_task(pool.sites[site_id], pool.config, order, pool.models[step.phase.model])
        assert reply.weights is not None  # noqa: S101 - the task exchanges weights
        pool.models[step.phase.model] = reply.weights
        records[site_id] = _used(reply)
    return records


def _used(reply: SiteReply) -> SiteRecord:
    return SiteRecord(
        state=SiteState.USED,
        seconds=reply.metrics["seconds"],
        num_examples=reply.num_examples,
        metrics=reply.metrics,
    )


def train_jointly(pool: Pool, step: Step) -> dict[str, SiteRecord]:
    """Take the joint steps of one round and put the model that they lead to into the pool."""
    config, phase, fitting, started = pool.config, step.phase, fit_config(pool.config, step.phase), time.monotonic()
    if step.server_round == 1:
        pool.teacher = pool.optimizer_state = None
    works = {
        site_id: open_workplace(pool.sites[site_id], config, order) for site_id, order in _orders(pool, step).items()
    }
    counts = [(card.role, card.num_cases) for card in pool.cards if card.site_id in works]
    shares = dict(zip(works, site_weights(counts, fitting.source_weight), strict=True))
    received, some = pool.models[phase.model], next(iter(works.values()))
    student = some.model(phase.model, received)
    teacher = some.model(phase.model, pool.teacher or received).requires_grad_(requires_grad=False).eval()
    undilute_rows(student, {work.domain: shares[site_id] for site_id, work in works.items()})
    has_teacher = not WITH_TEACHER.isdisjoint(phase.tasks.values())
    losses: dict[str, list[float]] = {site_id: [] for site_id in works}
    plan, follow = RoundPlan.of(fitting, step.server_round), following(teacher, student, config.adapt.ema_decay)
    result = fit(
        student,
        joint_loss(
            _terms(works, shares, fitting, student, teacher, has_paired_looks=pool.has_paired_looks),
            lambda site_id, loss: losses[site_id].append(loss),
        ),
        plan,
        optimizer_state=pool.optimizer_state,
        after_step=(lambda local: follow(plan.first_step + local)) if has_teacher else None,
        weight_decay=0.0 if phase.model is ModelName.DENOISER else WEIGHT_DECAY,
    )
    if has_teacher:
        for work in works.values():
            if work.order.task in REMEMBERING:
                remember(work, received)
        pool.teacher = teacher.state_dict()
    pool.optimizer_state = result.optimizer_state
    pool.models[phase.model] = {name: tensor.detach().cpu() for name, tensor in student.state_dict().items()}
    if phase.model is ModelName.DENOISER:
        _follow_denoiser(pool)
    seconds = time.monotonic() - started
    return {
        card.site_id: SiteRecord(
            state=SiteState.USED,
            seconds=seconds,
            num_examples=card.num_cases,
            metrics={"loss": math.fsum(losses[card.site_id]) / len(losses[card.site_id]), "seconds": seconds},
            share=shares[card.site_id],
        )
        for card in pool.cards
        if card.site_id in works
    }


def _terms(
    works: Mapping[str, Workplace],
    shares: Mapping[str, float],
    fitting: FitConfig,
    student: nn.Module,
    teacher: nn.Module,
    *,
    has_paired_looks: bool,
) -> dict[str, Term]:
    seen = list(works.values()) if has_paired_looks else []
    return {
        site_id: Term(
            loss_at=site_loss(work, student, teacher, seen),
            factor=shares[site_id] * ramp_of(work),
            joins=evenly_spread(work.plan(fitting).num_local_steps, fitting.num_local_steps),
        )
        for site_id, work in works.items()
    }


def _follow_denoiser(pool: Pool) -> None:
    """Running mean of the denoiser over rounds, as the server keeps it."""
    trained = pool.models[ModelName.DENOISER]
    if pool.denoiser_mean is None:
        pool.denoiser_mean = {name: tensor.clone() for name, tensor in trained.items()}
    else:
        update_ema_(pool.denoiser_mean, trained, pool.config.diffuse.server_ema_decay)


def _orders(pool: Pool, step: Step) -> dict[str, WorkOrder]:
    """The orders of a federated round, with the rows of this reference and the machine for one at a time."""
    return {
        site_id: dataclasses.replace(work_order(step, task, pool.cards), row=_row(step.phase), num_participants=1)
        for site_id, task in assignments(step.phase, pool.cards).items()
    }


def _row(phase: Phase) -> str:
    return phase.row + SUFFIX if phase.row else ""
