"""What a student learns from recoloured scans and rendered pairs, at one site."""

import dataclasses
from typing import Any

import pytest
import torch

from client import refinement_losses, segmentation_losses
from client.site import Site
from client.site_batches import labelled_batch
from client.site_state import SiteState
from client.tasks import run_task
from client.workplace import Workplace
from diffuse_uda.algorithms.domain_contrast import ClassAppearance
from diffuse_uda.methods.phase import Task
from diffuse_uda.training.batches import Batch, Example
from diffuse_uda.training.looks import in_known_contrast
from diffuse_uda.types import ModelName
from tests.tiny_site import first_weights, order_for, tiny_config


def test_the_source_keeps_the_table_and_recolours_in_the_contrast_of_its_partner(
    source: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config({"refine.class-contrast-share": 1.0, "recolour.num-local-steps": 1})
    weights = first_weights(config, ModelName.DENOISER)
    for domain, grey in enumerate((0.9, 0.3, 0.6)):
        weights["class_table.rows"][domain] = 2 * grey - 1
        weights["class_table.volumes"][domain] = 1.0
    domains = ("source", "target", "other")
    keep = dataclasses.replace(order_for(Task.KEEP_TABLE, phase="keep-table"), domains=domains)
    assert run_task(source, config, keep, weights).num_examples == 2
    seen = set()

    def contrast(
        images: torch.Tensor, label_map: torch.Tensor, known: ClassAppearance, draw: torch.Generator
    ) -> torch.Tensor:
        seen.add(round(float(known.means.mean()), 3))
        return in_known_contrast(images, label_map, known, draw)

    monkeypatch.setattr(refinement_losses, "in_known_contrast", contrast)
    recolour = dataclasses.replace(order_for(Task.RECOLOUR, phase="recolour-for-2"), domains=domains, partner=2)
    reply = run_task(source, config, recolour, first_weights(config))
    assert reply.weights is not None
    assert reply.metrics["loss"] > 0
    assert seen == {0.6}


@pytest.mark.parametrize(("partner", "contrasts"), [(1, set()), (2, {0.6}), (None, {0.6})])
def test_the_source_takes_random_looks_for_a_target_that_tells_nothing(
    source: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    partner: int | None,
    contrasts: set[float],
) -> None:
    """Rows of domain 1 are as they were sent, all zero: middle grey everywhere, and nothing around the structures."""
    config = tiny_config({"refine.class-contrast-share": 1.0, "recolour.num-local-steps": 3, "recolour.batch-size": 2})
    weights = first_weights(config, ModelName.DENOISER)
    for domain, grey in ((0, 0.9), (2, 0.6)):
        weights["class_table.rows"][domain] = 2 * grey - 1
        weights["class_table.volumes"][domain] = 1.0
    domains = ("source", "target", "other")
    keep = dataclasses.replace(order_for(Task.KEEP_TABLE, phase="keep-table"), domains=domains)
    run_task(source, config, keep, weights)
    assert caplog.messages == ["site target tells nothing about its classes: random looks stand for its own"]
    seen: set[float] = set()

    def contrast(
        images: torch.Tensor, label_map: torch.Tensor, known: ClassAppearance, draw: torch.Generator
    ) -> object:
        seen.update(round(float(row.mean()), 3) for row in known.means)
        return in_known_contrast(images, label_map, known, draw)

    monkeypatch.setattr(refinement_losses, "in_known_contrast", contrast)
    recolour = dataclasses.replace(order_for(Task.RECOLOUR, phase="recolour"), domains=domains, partner=partner)
    reply = run_task(source, config, recolour, first_weights(config))
    assert reply.metrics["loss"] > 0
    assert seen == contrasts


def test_real_and_rendered_examples_count_by_their_number(source: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config({"refine.batch-size": 3, "refine.synthetic-fraction": 0.33, "refine.num-local-steps": 1})
    run_task(source, config, order_for(Task.SYNTHESISE, phase="synthesise"), first_weights(config, ModelName.DENOISER))

    def loss_by_size(logits: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return logits.sum() * 0.0 + {2: 1.0, 1: 4.0}[len(logits)]

    monkeypatch.setattr(refinement_losses, "dice_ce_loss", loss_by_size)
    reply = run_task(source, config, order_for(Task.REFINE_SOURCE, phase="refine"), first_weights(config))
    # the mean over the three examples, twice: as large as the sum of two losses
    assert reply.metrics["loss"] == pytest.approx(2 * (1.0 + 1.0 + 4.0) / 3)


def test_without_weight_the_consistency_is_not_even_computed(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config({"refine.lambda-max": 0.0})
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    run_task(target, config, order_for(Task.SYNTHESISE, phase="synthesise"), first_weights(config, ModelName.DENOISER))
    monkeypatch.setattr(segmentation_losses, "target_loss", None)
    reply = run_task(target, config, order_for(Task.REFINE_TARGET, phase="refine"), first_weights(config))
    assert reply.weights is not None


@pytest.mark.parametrize(("partner", "domains", "grey"), [(None, {1, 2}, {0.3, 0.6}), (2, {2}, {0.6})])
def test_the_source_refines_with_the_pairs_and_the_contrast_of_the_target_it_works_for(
    source: Site,
    monkeypatch: pytest.MonkeyPatch,
    partner: int | None,
    domains: set[int],
    grey: set[float],
) -> None:
    config = tiny_config({"refine.class-contrast-share": 1.0})
    order = dataclasses.replace(
        order_for(Task.REFINE_SOURCE, phase="refine"), partner=partner, domains=("source", "a", "b")
    )
    state = SiteState(source.workspace / "state")
    shape = (1, *config.grid.patch_size)
    pairs = [
        Example(image=torch.full(shape, 0.5), label_map=torch.ones(shape, dtype=torch.uint8), domain=domain)
        for domain in (1, 2)
    ]
    state.save_examples("synthetic", pairs)
    means = torch.tensor([[0.9] * 7, [0.3] * 7, [0.6] * 7])
    volumes = torch.ones(3, 7)
    state.save_tensors(
        "appearance", {"means": means, "spreads": 0 * means, "background": torch.ones(3, 3), "volumes": volumes}
    )
    seen: dict[str, set[Any]] = {"domains": set(), "grey": set()}

    def batch_of(
        work: Workplace,
        examples: list[Example],
        size: int,
        draw: torch.Generator,
        *,
        ratios: torch.Tensor | None = None,
    ) -> Batch:
        seen["domains"] |= {example.domain for example in examples} - {0}
        return labelled_batch(work, examples, size, draw, ratios=ratios)

    def contrast(
        images: torch.Tensor, label_map: torch.Tensor, known: ClassAppearance, draw: torch.Generator
    ) -> torch.Tensor:
        seen["grey"] |= {round(float(row[0]), 3) for row in known.means}
        return in_known_contrast(images, label_map, known, draw)

    monkeypatch.setattr(refinement_losses, "labelled_batch", batch_of)
    monkeypatch.setattr(refinement_losses, "in_known_contrast", contrast)
    run_task(source, config, order, first_weights(config))
    assert seen == {"domains": domains, "grey": grey}
