"""Reference rows: what a target could reach with labels of its own. Never part of a federation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from client.admission import admitted
from client.cases import chosen_labelled, examples_of
from client.evaluation_task import evaluate
from client.segmentation_tasks import fit_supervised
from client.site import Site
from client.site_state import SiteState
from client.workplace import Workplace, open_workplace
from diffuse_uda.config import StudyConfig, WarmUpConfig
from diffuse_uda.data.cases import prepare_case
from diffuse_uda.data.formats.nnunet import read_oracle_label_maps
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.methods.phase import Task
from diffuse_uda.training.batches import Example
from diffuse_uda.types import SiteRole, StateDict

ROW = "target-supervised"


def has_oracle(folder: Path) -> bool:
    """Whether the labels of a target's training scans lie aside for this reference."""
    return (folder / "oracle" / "labelsTr").is_dir()


def fit_target_supervised(
    site: Site, config: StudyConfig, weights: StateDict, domains: tuple[str, ...], label_names: tuple[str, ...]
) -> None:
    """Train a fresh segmenter on a target's own labels and score it: the ceiling of the gap.

    It takes as many supervised steps as a target's segmenter does in Diffuse-UDA (`supervised_steps`), each on a batch
    of the warm-up's size, at the warm-up's learning rate. Random looks have no counterpart: a target knows its look.
    Neither have the steps of the adaptation, whose targets learn from no label.

    Args:
        site: The target; predictions and scores go to its workspace as row `target-supervised`.
        config: The study; the reference uses its segmenter, grid, batch size and learning rate.
        weights: First weights of the segmenter, drawn before any thread starts.
        domains: Site ids of the study.
        label_names: Classes of the study, background first.
    """
    order = WorkOrder(
        task=Task.WARM_UP,
        phase=ROW,
        server_round=1,
        num_rounds=1,
        pass_index=0,
        row=ROW,
        domains=domains,
        label_names=label_names,
        num_participants=len(domains) - 1,
    )
    # A folder of its own: nothing of a reference may reach the site's part in the federation.
    aside = dataclasses.replace(site, role=SiteRole.TARGET, workspace=site.workspace / "reference")
    work = open_workplace(aside, config, order)
    reply = fit_supervised(work, weights, *_plan(work))
    assert reply.weights is not None  # noqa: S101 - supervised fitting always returns weights
    scored = dataclasses.replace(work, site=site, state=SiteState(aside.workspace / "state"))
    evaluate(scored, reply.weights)


def supervised_steps(config: StudyConfig) -> int:
    """Steps on label maps that a segmenter takes in Diffuse-UDA: in the warm-up, recolouring and every refinement."""
    of_pass = config.refine.num_rounds * config.refine.num_local_steps
    warm_up, recolour = (fitting.num_rounds * fitting.num_local_steps for fitting in (config.warm_up, config.recolour))
    return warm_up + config.recolour.num_turns * recolour + config.num_passes * of_pass


def _plan(work: Workplace) -> tuple[list[Example], WarmUpConfig]:
    config, centre = work.config, admitted(work.site)
    oracle = read_oracle_label_maps(work.site.data_dir)
    files = [
        dataclasses.replace(case, label_map=oracle[case.case_id]) for case in centre.train if case.case_id in oracle
    ]
    if config.source.num_labelled:  # at a budget the ceiling has as many labelled scans as the source
        kept = chosen_labelled(files, config.source)
        files = [case for case in files if case.case_id in kept]
    cases = [prepare_case(case, config.grid.spacing_mm, config.grid.patch_size) for case in files]
    fitting = WarmUpConfig(
        num_rounds=1,
        num_local_steps=supervised_steps(config),
        batch_size=config.warm_up.batch_size,
        learning_rate=config.warm_up.learning_rate,
        random_look_share=0.0,
    )
    return examples_of(cases, work.domain), fitting
