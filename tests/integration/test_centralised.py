"""All scans in one place: a joint step is a federated one, and a whole run leaves the rows of the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from client import generation_tasks, segmentation_tasks
from client.site import Site, open_site
from client.site_state import SiteState as SiteFolder
from client.tasks import introduce, run_task
from diffuse_uda.algorithms.aggregation import federated_average, site_weights
from diffuse_uda.algorithms.domain_rows import DOMAIN_TABLES, owned_rows
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange
from diffuse_uda.models import initial_weights
from diffuse_uda.reporting.history_view import read_history
from diffuse_uda.training.fitting import FitResult
from diffuse_uda.training.schedule import RoundPlan
from diffuse_uda.types import ModelName, Scalar, SiteRole, StateDict, WeightUpdate
from server.history import Event, StudyFinished, StudyStarted
from server.workflow import assignments, fit_config, ordered_sites, steps, work_order
from simulations import centralised
from simulations.centralised import Pool, run_centralised, train_jointly, work_at_sites

ROLES = ("source", "target", "target")
ONE_STEP: dict[str, Scalar] = {
    f"{phase}.{key}": value
    for phase in ("warm-up", "adapt", "diffuse", "refine")
    for key, value in {"num-rounds": 2, "num-local-steps": 1, "learning-rate": 0.01}.items()
}
"""Two rounds, of which the first is looked at: there the ramp of the adaptation is exp(-5 / 4)."""


def sites_at(cohort: list[Path], workspace: Path) -> list[Site]:
    return [
        open_site(
            {"site-id": folder.name, "role": role, "data-dir": str(folder), "workspace": str(workspace / folder.name)}
        )
        for folder, role in zip(cohort, ROLES, strict=True)
    ]


def sgd(
    model: nn.Module,
    loss_at: Callable[[int], Tensor],
    plan: RoundPlan,
    *,
    optimizer_state: dict[str, object] | None = None,
    after_step: Callable[[int], None] | None = None,
    weight_decay: float = 0.0,
) -> FitResult:
    """The steps of a round without moments, clipping and schedule: what the law is about."""
    model.train()
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=plan.learning_rate)
    losses = []
    for step in range(plan.num_local_steps):
        optimizer.zero_grad()
        loss = loss_at(step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    return FitResult(losses=tuple(losses), optimizer_state=optimizer.state_dict())


def pool_of(config: StudyConfig, sites: list[Site]) -> Pool:
    cards = ordered_sites([introduce(site, config) for site in sites])
    return Pool(
        config=config,
        sites={site.site_id: site for site in sites},
        cards=cards,
        models={name: initial_weights(config, name, len(cards[0].label_names)) for name in ModelName},
    )


def federated_round(pool: Pool, sites: list[Site], label: str) -> StateDict:
    """Every site's own task, then the server's average."""
    step = next(step for step in steps(build_method(pool.config)) if step.phase.label == label)
    sent, by_id = pool.models[step.phase.model], {site.site_id: site for site in sites}
    updates = []
    for site_id, task in assignments(step.phase, pool.cards).items():
        reply = run_task(by_id[site_id], pool.config, work_order(step, task, pool.cards), sent)
        assert reply.weights is not None
        updates.append(WeightUpdate(site_id=site_id, weights=reply.weights, num_examples=reply.num_examples))
    taking_part = [card for card in pool.cards if card.site_id in {update.site_id for update in updates}]
    shares = site_weights(
        [(card.role, card.num_cases) for card in taking_part], fit_config(pool.config, step.phase).source_weight
    )
    average = federated_average(updates, shares)
    for name in average:
        if name.endswith(DOMAIN_TABLES):
            average[name] = owned_rows(average[name], sent[name], shares)
    return average


@pytest.mark.parametrize("label", ["warm-up", "adapt", "diffuse", "refine"])
def test_one_joint_step_is_one_federated_round_of_single_steps(
    label: str,
    tmp_path: Path,
    tiny_config: dict[str, Scalar],
    tiny_cohort: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (centralised, segmentation_tasks, generation_tasks):
        monkeypatch.setattr(module, "fit", sgd)
    # Without the class table the denoiser has to learn looks by its embedding, whose rows are no plain average.
    table: dict[str, Scalar] = {"denoiser.class-table": False, "diffusion.prediction-type": "velocity"}
    config = StudyConfig.from_flat({**tiny_config, **ONE_STEP, **table})
    pool = pool_of(config, sites_at(tiny_cohort, tmp_path / "pool"))
    # The reference knows real looks of the other side, which no site has: without them both see the same volumes.
    pool.has_paired_looks = False
    # The last layer starts at zero and would let no gradient through to the embedding.
    draw = torch.Generator().manual_seed(0)
    for tensor in pool.models[ModelName.DENOISER].values():
        tensor.add_(torch.randn(tensor.shape, generator=draw), alpha=0.1)
    sites = sites_at(tiny_cohort, tmp_path / "federation")
    for site in sites:
        introduce(site, config)
    for step in steps(build_method(config)):
        if step.phase.label in {"pseudo-label", "synthesise"}:
            work_at_sites(pool, step)
            for site_id, task in assignments(step.phase, pool.cards).items():
                site = next(one for one in sites if one.site_id == site_id)
                run_task(site, config, work_order(step, task, pool.cards), pool.models[step.phase.model])
    before = pool.models[ModelName.DENOISER if label == "diffuse" else ModelName.SEGMENTER]
    federated = federated_round(pool, sites, label)
    step = next(step for step in steps(build_method(config)) if step.phase.label == label)
    records = train_jointly(pool, step)
    joint = pool.models[step.phase.model]
    assert sum(record.share for record in records.values()) == pytest.approx(1.0)
    assert max(float((joint[name] - before[name]).abs().max()) for name in joint) > 1e-4
    assert max(float((joint[name] - federated[name]).abs().max()) for name in joint) < 1e-5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_cohort: list[Path], tiny_config: dict[str, Scalar]) -> Path:
    folder = tmp_path_factory.mktemp("centralised")
    config = StudyConfig.from_flat({**tiny_config, "num-passes": 2, "warm-up.random-look-share": 0.8})
    events: list[Event] = []
    run_centralised(config, sites_at(tiny_cohort, folder / "sites"), folder, on_event=events.append)
    assert isinstance(events[0], StudyStarted)
    assert events[0].method == "diffuse-uda-centralised"
    assert isinstance(events[-1], StudyFinished)
    return folder


def test_every_row_is_scored_at_every_target_and_what_all_sites_share_at_the_source(finished: Path) -> None:
    shared = {f"{row}-centralised" for row in ("source-only-random-conv", "asc-plus")}
    every = shared | {f"{row}-centralised" for row in ("recoloured", "diffuse-uda-pass-1", "diffuse-uda")}
    for site, rows in (("source-t1w", shared), ("target-t2w", every), ("target-flair", every)):
        assert {path.parent.name for path in (finished / "sites" / site).glob("evaluation/*/scores.json")} == rows


def test_the_history_is_that_of_a_federated_run_with_no_byte_exchanged(finished: Path) -> None:
    history = read_history(finished / "history.jsonl")
    # 1 warm-up, 2 adapt, then labels, describe, keep-table, recolouring for each of two targets; twice (labels,
    # 2 diffuse, synthesise, 2 refine for each target); and 5 evaluations.
    assert len(history) == 1 + 2 + 5 + 2 * 8 + 5
    adapt = next(record for record in history if record.phase == "adapt")
    assert sorted(adapt.sites) == ["source-t1w", "target-flair", "target-t2w"]
    assert all(site.metrics["loss"] > 0 for site in adapt.sites.values())
    assert {site.to_site_bytes + site.to_server_bytes for record in history for site in record.sites.values()} == {0}


def test_targets_remember_the_last_models_for_the_ensemble_that_labels_their_scans(finished: Path) -> None:
    kept = [
        len(SiteFolder(finished / "sites" / site / "state").recent_globals()) for site in ("source-t1w", "target-t2w")
    ]
    assert kept == [0, 2]  # three ensembled rounds: two of before, and the one that comes


def test_equal_seeds_give_equal_weights_whatever_the_order_in_which_sites_are_named(
    tmp_path: Path, tiny_cohort: list[Path], tiny_config: dict[str, Scalar]
) -> None:
    config = StudyConfig.from_flat({**tiny_config, "method": "asc"})
    first = pool_of(config, sites_at(tiny_cohort, tmp_path / "first"))
    second = pool_of(config, sites_at(tiny_cohort, tmp_path / "second")[::-1])
    for step in steps(build_method(config)):
        if step.phase.exchange is Exchange.WEIGHTS:
            train_jointly(first, step)
            train_jointly(second, step)
    one, other = (pool.models[ModelName.SEGMENTER] for pool in (first, second))
    assert all(one[name].equal(other[name]) for name in one)


def test_the_history_of_another_run_is_left_alone(
    finished: Path, tiny_cohort: list[Path], tiny_config: dict[str, Scalar]
) -> None:
    before = (finished / "history.jsonl").read_text()
    with pytest.raises(ConfigError, match=r"already holds a history\.jsonl"):
        run_centralised(StudyConfig.from_flat(tiny_config), sites_at(tiny_cohort, finished / "sites"), finished)
    assert (finished / "history.jsonl").read_text() == before


def test_the_running_mean_of_the_denoiser_renders_and_the_raw_one_is_trained(
    tmp_path: Path, tiny_cohort: list[Path], tiny_config: dict[str, Scalar]
) -> None:
    config = StudyConfig.from_flat({**tiny_config, "diffuse.server-ema-decay": 0.75})
    pool = pool_of(config, sites_at(tiny_cohort, tmp_path))
    todo = {(step.phase.label, step.server_round): step for step in steps(build_method(config))}
    work_at_sites(pool, todo["pseudo-label", 1])
    after = []
    for server_round in (1, 2):
        train_jointly(pool, todo["diffuse", server_round])
        after.append(pool.models[ModelName.DENOISER])
    assert pool.denoiser_mean is not None
    for name, mean in pool.denoiser_mean.items():
        torch.testing.assert_close(mean, 0.75 * after[0][name] + 0.25 * after[1][name])
    seen = {}

    def run_and_look(site: Site, config: StudyConfig, order: WorkOrder, weights: StateDict) -> SiteReply:
        seen[site.role] = weights
        return run_task(site, config, order, weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(centralised, "run_task", run_and_look)
        work_at_sites(pool, todo["synthesise", 1])
    assert seen[SiteRole.SOURCE] is pool.denoiser_mean
