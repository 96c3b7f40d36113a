"""Looks of a site's scans, and a round of self-ensembling on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from client.ensembling_tasks import EXACT, PSEUDO, ensembling_ramp
from client.generation_tasks import APPEARANCE
from client.site import Site
from client.site_batches import labelled_batch
from client.site_state import SiteState
from client.tasks import run_task
from client.workplace import open_workplace
from diffuse_uda.algorithms.domain_contrast import ClassAppearance
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.methods.phase import Task
from diffuse_uda.models.critics import CriticisedSegmenter
from diffuse_uda.training.batches import Batch
from diffuse_uda.training.ensembling import EnsemblingTerms, ensembling_terms
from diffuse_uda.training.looks import in_known_contrast
from diffuse_uda.types import ModelName, Scalar, StateDict
from tests.tiny_site import first_weights, order_for, tiny_config

GENERATED = ["diffusion", "encoding"]
AT_HAND = ["class-contrast", "fourier", "none"]


def le_config(**changes: Scalar) -> StudyConfig:
    return tiny_config(
        {
            "method": "le-uda",
            "segmenter.channels": "[4, 8, 8, 8]",
            "ensemble.num-local-steps": 1,
            "ensemble.target-step-fraction": 1.0,
            **changes,
        }
    )


def denoiser_with_table(config: StudyConfig) -> StateDict:
    weights = first_weights(config, ModelName.DENOISER)
    for domain, grey in enumerate((0.3, 0.7, 0.5)):
        weights["class_table.rows"][domain] = 2 * grey - 1
        weights["class_table.background"][domain] = 2 * grey - 1
    weights["class_table.spreads"] += 0.1
    weights["class_table.volumes"] += 1.0
    return weights


def prepared(site: Site, config: StudyConfig, **order: object) -> SiteState:
    """A site that has labelled its scans and has what it needs to show them in other looks."""
    state = SiteState(site.workspace / "state")
    label = order_for(Task.PSEUDO_LABEL, phase="pseudo-label")
    run_task(site, config, label, first_weights(config))
    task = Task.TRANSLATE if config.ensemble.has_generated_looks else Task.KEEP_TABLE
    before = dataclasses.replace(order_for(task, phase="before"), **order)  # type: ignore[arg-type]
    run_task(site, config, before, denoiser_with_table(config))
    return state


def seen_looks(
    site: Site, config: StudyConfig, monkeypatch: pytest.MonkeyPatch, **order: object
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Source-like and target-like looks of one step of a site, as they reach the losses."""
    seen: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []

    def watched(
        _student: object,
        _teacher: object,
        like_source: list[torch.Tensor],
        like_target: list[torch.Tensor],
        *rest: object,
        **options: object,
    ) -> EnsemblingTerms:
        seen.append((like_source, like_target))
        return ensembling_terms(_student, _teacher, like_source, like_target, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("client.ensembling_tasks.ensembling_terms", watched)
    monkeypatch.setattr("client.ensembling_tasks.augment_intensity", lambda volumes, _draw: volumes)
    given = dataclasses.replace(order_for(Task.ENSEMBLE, phase="ensemble"), **order)  # type: ignore[arg-type]
    run_task(site, config, given, first_weights(config))
    return seen[0]


@pytest.mark.parametrize("translator", GENERATED)
def test_a_source_keeps_generated_looks_of_what_it_labelled_itself_apart(source: Site, translator: str) -> None:
    changes: dict[str, Scalar] = {"source.num-labelled": 1, "ensemble.translator": translator}
    config = le_config(**changes)
    state = prepared(source, config, domains=("source", "target", "other"))
    exact, pseudo = state.load_examples(EXACT), state.load_examples(PSEUDO)
    # one scan of each kind, two translations
    assert (len(exact), len(pseudo)) == (2, 2)
    assert all(example.image.shape == (3, 16, 16, 16) for example in exact + pseudo)
    own, across, back = exact[0].image
    assert not torch.equal(own, across)
    assert not torch.equal(across, back)
    # the second translation goes to the other target
    assert not torch.equal(exact[0].image[1], exact[1].image[1])
    assert torch.equal(exact[0].image[0], exact[1].image[0])


@pytest.mark.parametrize("partner", [1, 2])
def test_the_look_across_is_the_partners(source: Site, monkeypatch: pytest.MonkeyPatch, partner: int) -> None:
    config = le_config()
    everybody = ("source", "target", "other")
    prepared(source, config, domains=everybody)
    wanted: list[float] = []

    def painted(images: torch.Tensor, _labels: torch.Tensor, known: ClassAppearance, _draw: object) -> torch.Tensor:
        wanted.append(float(known.means[0, 1]))
        return images * 0.5

    monkeypatch.setattr("client.ensembling_tasks.in_known_contrast", painted)
    seen_looks(source, config, monkeypatch, domains=everybody, partner=partner)
    # across to the partner, and back home
    assert wanted == pytest.approx([(0.3, 0.7, 0.5)[partner], 0.3], abs=1e-5)


@pytest.mark.parametrize("resizes", [False, True])
def test_structures_take_the_partners_sizes_at_the_source(
    source: Site, monkeypatch: pytest.MonkeyPatch, *, resizes: bool
) -> None:
    config = le_config(**{"refine.resize": resizes})
    prepared(source, config)
    asked: list[torch.Tensor | None] = []

    def watched(*args: Any, ratios: torch.Tensor | None) -> Batch:
        asked.append(ratios)
        return labelled_batch(*args, ratios=ratios)

    monkeypatch.setattr("client.ensembling_tasks.labelled_batch", watched)
    run_task(source, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config))
    assert [ratios is not None for ratios in asked] == [resizes]


def test_a_site_that_tells_nothing_is_shown_in_random_looks(source: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = le_config(**{"refine.resize": False})
    state = prepared(source, config)
    kept = state.load_tensors(APPEARANCE)
    assert kept is not None
    kept["volumes"][1] = 0.0
    state.save_tensors(APPEARANCE, kept)
    (own, _), (across,) = seen_looks(source, config, monkeypatch)
    assert across.amax() > 0.0
    assert not torch.equal(own, across)
    monkeypatch.setattr("client.ensembling_tasks.randomised", lambda images, *_args, **_options: images)
    (own, _), (across,) = seen_looks(source, config, monkeypatch)
    assert torch.equal(own, across)


def test_a_target_keeps_its_sizes(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = le_config()
    prepared(target, config)
    monkeypatch.setattr("client.ensembling_tasks.ClassAppearance.volume_ratios", None)
    assert run_task(target, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config)).weights


def test_a_target_shows_its_scans_as_the_source_would_and_back(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = le_config()
    prepared(target, config)
    (across,), (own, back) = seen_looks(target, config, monkeypatch)
    assert own.shape == across.shape == back.shape
    assert not torch.equal(own, across)
    assert not torch.equal(across, back)


def test_looks_at_hand_are_drawn_anew_in_every_step(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = le_config(**{"ensemble.num-local-steps": 2, "ensemble.batch-size": 2})
    prepared(target, config)
    drawn: list[torch.Tensor] = []

    def watched(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        drawn.append(in_known_contrast(images, *rest))
        return drawn[-1]

    monkeypatch.setattr("client.ensembling_tasks.in_known_contrast", watched)
    run_task(target, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config))
    first, _, second, _ = drawn
    assert not torch.equal(first, second)


@pytest.mark.parametrize("translator", [*GENERATED, *AT_HAND])
def test_every_translator_makes_looks_that_the_ensemble_learns_from(
    target: Site, translator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Scalar] = {"ensemble.translator": translator, "exchange.allow-style-blocks": True}
    config = le_config(**options)
    blocks = {site: torch.full((1, 1, 3, 3, 2), 5.0) for site in ("source", "target")}
    prepared(target, config, style_blocks=blocks)
    (across,), (own, back) = seen_looks(target, config, monkeypatch, style_blocks=blocks)
    assert torch.equal(own, across) is (translator == "none")
    assert torch.equal(own, back) is (translator == "none")
    weights = first_weights(config)
    given = dataclasses.replace(order_for(Task.ENSEMBLE, phase="ensemble"), style_blocks=blocks)
    reply = run_task(target, config, given, weights)
    assert reply.weights is not None
    assert reply.metrics["loss"] > 0
    changed = {name.split(".")[0] for name in weights if not weights[name].equal(reply.weights[name])}
    assert changed == {"segmenter", "intra", "inter"}


@pytest.mark.parametrize("both_directions", [False, True])
def test_only_a_source_with_exact_labels_has_a_supervised_term(
    source: Site, monkeypatch: pytest.MonkeyPatch, *, both_directions: bool
) -> None:
    changes: dict[str, Scalar] = {
        "source.num-labelled": 1,
        "ensemble.batch-size": 1,
        "ensemble.both-directions": both_directions,
    }
    config = le_config(**changes)
    prepared(source, config)
    seen: list[int] = []

    def counted(logits: torch.Tensor, label_map: torch.Tensor, **_: object) -> torch.Tensor:
        seen.append(len(logits))
        assert len(logits) == len(label_map)
        return logits.sum() * 0.0

    monkeypatch.setattr("client.ensembling_tasks.dice_ce_loss", counted)
    run_task(source, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config))
    # its one exact scan in all three looks; the other scan of the batch is in the consistency alone
    assert seen == [1, 1, 1]


def test_a_target_reads_no_label_not_even_its_own(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = le_config()
    prepared(target, config)
    monkeypatch.setattr("client.ensembling_tasks.dice_ce_loss", None)
    assert run_task(target, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config)).weights


def test_the_teacher_is_kept_from_round_to_round_of_a_phase(target: Site) -> None:
    config = le_config()
    state = prepared(target, config)
    for server_round in (1, 2):
        order = order_for(Task.ENSEMBLE, phase="ensemble", server_round=server_round)
        run_task(target, config, order, first_weights(config))
    teacher = state.load_tensors("teacher-ensemble")
    assert teacher is not None
    assert teacher.keys() == first_weights(config).keys()
    assert state.load_tensors("teacher-ensemble-2") is None


def test_without_critics_the_segmenter_travels_alone(target: Site) -> None:
    config = le_config(**{"ensemble.adversarial-weight": 0.0})
    prepared(target, config)
    reply = run_task(target, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config))
    assert reply.weights is not None
    work = open_workplace(target, config, order_for(Task.ENSEMBLE, phase="ensemble"))
    assert not isinstance(work.model(ModelName.SEGMENTER, reply.weights), CriticisedSegmenter)


def test_the_teachers_word_grows_in_the_first_turn_and_counts_whole_in_the_next(target: Site) -> None:
    def ramp(server_round: int, pass_index: int) -> float:
        order: WorkOrder = dataclasses.replace(
            order_for(Task.ENSEMBLE, phase="ensemble", server_round=server_round), pass_index=pass_index
        )
        return ensembling_ramp(open_workplace(target, le_config(), order))

    assert ramp(1, 0) < ramp(2, 0) == 1.0
    assert ramp(1, 1) == 1.0


@pytest.mark.parametrize(("translator", "missing"), [("diffusion", "translate"), ("none", "pseudo-label")])
def test_scans_have_to_be_there_first(target: Site, translator: str, missing: str) -> None:
    config = le_config(**{"ensemble.translator": translator})
    with pytest.raises(SiteTaskError, match=f"`{missing}` has to come before"):
        run_task(target, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config))


def test_the_table_has_to_be_there_first(target: Site) -> None:
    config = le_config()
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    with pytest.raises(SiteTaskError, match="`keep-table` has to come before"):
        run_task(target, config, order_for(Task.ENSEMBLE, phase="ensemble"), first_weights(config))


def test_a_site_that_publishes_no_style_block_is_named(target: Site) -> None:
    changes: dict[str, Scalar] = {"ensemble.translator": "fourier", "exchange.allow-style-blocks": True}
    config = le_config(**changes)
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    order = dataclasses.replace(
        order_for(Task.ENSEMBLE, phase="ensemble"), style_blocks={"target": torch.ones((1, 1, 3, 3, 2))}
    )
    with pytest.raises(SiteTaskError, match=r"found none of \['source'\]: set allow-style-blocks"):
        run_task(target, config, order, first_weights(config))
