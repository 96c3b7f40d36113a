"""One round of work at one site: from an order to a reply, free of any transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from client import ensembling_tasks, evaluation_task, generation_tasks, local_adaptation_task, segmentation_tasks
from client.admission import let_in
from client.cases import training_cases
from client.site import Site
from client.site_state import SiteState
from client.workplace import Workplace, open_workplace
from diffuse_uda.algorithms.appearance import mean_style_block, style_block
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.fingerprint import take_fingerprint
from diffuse_uda.data.formats.nnunet import evaluation_cases
from diffuse_uda.data.volumes import load_volume
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.methods.phase import Task
from diffuse_uda.training.device import choose_device
from diffuse_uda.training.memory import free_bytes
from diffuse_uda.types import SiteRole, StateDict

TASKS: Mapping[Task, Callable[[Workplace, StateDict], SiteReply]] = {
    Task.WARM_UP: segmentation_tasks.warm_up,
    Task.ADAPT_SOURCE: segmentation_tasks.adapt_source,
    Task.ADAPT_TARGET: segmentation_tasks.adapt_target,
    Task.ADAPT_LOCALLY: local_adaptation_task.adapt_locally,
    Task.PSEUDO_LABEL: generation_tasks.label_scans,
    Task.DESCRIBE: generation_tasks.describe,
    Task.KEEP_TABLE: generation_tasks.keep_table,
    Task.RECOLOUR: segmentation_tasks.recolour,
    Task.DIFFUSE: generation_tasks.diffuse,
    Task.SYNTHESISE: generation_tasks.synthesise,
    Task.REFINE_SOURCE: segmentation_tasks.refine_source,
    Task.REFINE_TARGET: segmentation_tasks.refine_target,
    Task.TRANSLATE: ensembling_tasks.translate,
    Task.ENSEMBLE: ensembling_tasks.ensemble,
    Task.EVALUATE: evaluation_task.evaluate,
    Task.EVALUATE_LOCALLY: local_adaptation_task.evaluate_locally,
}


def introduce(site: Site, config: StudyConfig) -> SiteCard:
    """Let the site's folder through the intake gate, then say who it is and what it could contribute.

    Cases that the gate quarantines are not part of it: the site counts, trains and scores without them.

    Whoever reads label maps in this study names its classes, a target with labelled held-out scans as well: scores
    under another order of labels would look like any others.

    Whatever an earlier run left in the site's workspace is forgotten: sites introduce themselves once, before round 1.
    A style block or a fingerprint is part of the answer only if study and site both allow it, and a fingerprint only
    over as many cases as statistics need.

    Raises:
        InputError: With everything that is wrong with the folder; the words stay in the site's log.
    """
    centre = let_in(site).centre
    state = SiteState(site.workspace / "state")
    state.forget_run()
    num_scored = sum(case.label_map is not None for case in evaluation_cases(centre, site.evaluation_part))
    reads_labels = site.role is SiteRole.SOURCE or num_scored > 0
    names = tuple(centre.label_names[value] for value in sorted(centre.label_names)) if reads_labels else ()
    block = None
    if config.exchange.allow_style_blocks and site.allow_style_blocks:
        cases = training_cases(site, config.grid, state)
        blocks = [style_block(case.image[None], segmentation_tasks.LARGEST_HALF_WIDTH) for case in cases]
        block = mean_style_block(torch.cat(blocks))
    fingerprint = None
    if config.exchange.allow_fingerprints and len(centre.train) >= config.exchange.min_cases_for_statistics:
        scans = (load_volume(case.image) for case in centre.train)
        fingerprint = take_fingerprint(scans, memory_bytes=free_bytes(choose_device(config.compute)))
    return SiteCard(
        site_id=site.site_id,
        role=site.role,
        num_cases=len(centre.train),
        label_names=names,
        num_test_cases=num_scored,
        style_block=block,
        fingerprint=fingerprint,
    )


def run_task(
    site: Site,
    config: StudyConfig,
    order: WorkOrder,
    weights: StateDict,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> SiteReply:
    """Carry out one order; the seconds it took are added to the scalars."""
    started = clock()
    reply = TASKS[order.task](open_workplace(site, config, order), weights)
    return replace(reply, metrics={**reply.metrics, "seconds": clock() - started})
