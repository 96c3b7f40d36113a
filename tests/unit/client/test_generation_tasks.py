"""Pseudo-labels, rounds of the denoiser and rendering at one site."""

import dataclasses

import pytest
import torch

from client import generation_tasks
from client.cases import training_cases
from client.generation_tasks import appearance_of
from client.site import Site
from client.site_state import SiteState
from client.tasks import run_task
from diffuse_uda.algorithms.domain_contrast import ClassAppearance
from diffuse_uda.algorithms.structure_size import random_sizes
from diffuse_uda.methods.phase import Task
from diffuse_uda.training import inference
from diffuse_uda.training.batches import Example
from diffuse_uda.types import ModelName, Scalar, StateDict
from tests.tiny_site import first_weights, order_for, tiny_config

TWO_CASES: dict[str, Scalar] = {"exchange.min-cases-for-statistics": 2}
"""The tiny sites have two scans, and tell about them."""


def test_pseudo_labels_diffusion_synthesis_and_refinement_follow_each_other_at_a_target(target: Site) -> None:
    config = tiny_config(TWO_CASES)
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    state = SiteState(target.workspace / "state")
    labelled = state.load_examples("pseudo-labelled")
    assert len(labelled) == 2
    assert all(example.label_map is not None and example.voxel_weight is not None for example in labelled)
    denoiser = first_weights(config, ModelName.DENOISER)
    trained = run_task(target, config, order_for(Task.DIFFUSE, phase="diffuse"), denoiser).weights
    assert trained is not None
    row = appearance_of(labelled, 7).means * 2 - 1
    torch.testing.assert_close(trained["class_table.rows"][1], row)
    assert trained["class_table.rows"][0].equal(denoiser["class_table.rows"][0])
    assert run_task(target, config, order_for(Task.SYNTHESISE, phase="synthesise"), trained).num_examples == 2
    assert {pair.domain for pair in state.load_examples("synthetic")} == {1}
    reply = run_task(target, config, order_for(Task.REFINE_TARGET, phase="refine"), first_weights(config))
    assert reply.weights is not None


def test_the_source_renders_its_labels_in_every_targets_look(source: Site) -> None:
    config = tiny_config()
    order = dataclasses.replace(order_for(Task.SYNTHESISE, phase="synthesise"), domains=("source", "target", "other"))
    reply = run_task(source, config, order, first_weights(config, ModelName.DENOISER))
    pairs = SiteState(source.workspace / "state").load_examples("synthetic")
    assert reply.num_examples == 4
    assert sorted(pair.domain for pair in pairs) == [1, 1, 2, 2]
    refined = run_task(source, config, order_for(Task.REFINE_SOURCE, phase="refine"), first_weights(config))
    assert refined.weights is not None


def test_only_trusted_voxels_tell_what_a_class_looks_like() -> None:
    image = torch.tensor([0.0, 0.2, 0.2, 0.9, 0.6, 0.6]).view(1, 6, 1, 1)
    label_map = torch.tensor([0, 1, 1, 1, 2, 2], dtype=torch.uint8).view(1, 6, 1, 1)
    weight = torch.tensor([1.0, 1.0, 1.0, 0.4, 1.0, 1.0]).view(1, 6, 1, 1)
    example = Example(image=image, label_map=label_map, voxel_weight=weight)
    assert appearance_of([example], 3).means.tolist() == pytest.approx([0.0, 0.2, 0.6])


def test_a_class_that_too_few_patients_have_is_left_out() -> None:
    """Two scans show class 1, one of them class 2 as well: its look would be that of one patient."""
    image = torch.tensor([0.0, 0.2, 0.2, 0.9]).view(1, 4, 1, 1)
    maps = [torch.tensor(values, dtype=torch.uint8).view(1, 4, 1, 1) for values in ([0, 1, 1, 0], [0, 1, 1, 2])]
    examples = [Example(image=image, label_map=label_map) for label_map in maps]
    told, withheld = (appearance_of(examples, 3, least=least) for least in (1, 2))
    assert told.means.tolist() == pytest.approx([0.0, 0.2, 0.9])
    assert told.volumes.tolist() == pytest.approx([0.2, 0.8, 0.2])
    assert withheld.means.tolist() == pytest.approx([0.0, 0.2, 0.2])
    assert withheld.volumes.tolist() == pytest.approx([0.25, 1.0, 0.0])


@pytest.mark.parametrize(
    ("phase", "pass_index", "share"),
    [("pseudo-label", 0, 1.0), ("relabel", 0, 0.25), ("relabel-2", 1, 0.25), ("pseudo-label-2", 1, 0.25)],
)
def test_the_mixture_tells_less_whenever_scans_are_labelled_again(
    target: Site, monkeypatch: pytest.MonkeyPatch, phase: str, pass_index: int, share: float
) -> None:
    """The network says class 0 everywhere, the mixture class 1: the share decides how sure the labels are of which."""
    config = tiny_config({"pseudo-label.later-mixture-share": 0.25})

    def probabilities(*_: object) -> torch.Tensor:
        return torch.eye(7)[0].view(7, 1, 1, 1).repeat(1, 16, 16, 16)

    def sharpened(images: list[torch.Tensor], *_: object, **__: object) -> list[torch.Tensor]:
        return [torch.eye(7)[1].view(7, 1, 1, 1).repeat(1, 16, 16, 16) for _image in images]

    monkeypatch.setattr(generation_tasks, "predict_probabilities", probabilities)
    monkeypatch.setattr(inference, "sharpen_probabilities", sharpened)
    order = dataclasses.replace(order_for(Task.PSEUDO_LABEL, phase=phase), pass_index=pass_index)
    reply = run_task(target, config, order, first_weights(config))
    assert reply.metrics["confidence"] == pytest.approx(max(share, 1 - share))
    labelled = SiteState(target.workspace / "state").load_examples("pseudo-labelled")
    assert {int(example.label_map.max()) for example in labelled if example.label_map is not None} == {int(share > 0.5)}


def test_a_target_labels_with_what_it_was_sent_since_it_last_did(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config, asked = tiny_config(), []
    state = SiteState(target.workspace / "state")

    def probabilities(model: torch.nn.Module, *_: object) -> torch.Tensor:
        asked.append(model)
        return torch.full((7, 16, 16, 16), 1 / 7)

    def models_asked(phase: str) -> float:
        asked.clear()
        run_task(target, config, order_for(Task.PSEUDO_LABEL, phase=phase), first_weights(config))
        return len(asked) / 2  # scans

    monkeypatch.setattr(generation_tasks, "predict_probabilities", probabilities)
    for _ in range(2):
        state.remember_global(first_weights(config), keep=2)
    assert models_asked("pseudo-label") == 3
    # it rested during recolouring; after a refinement it has seen one more
    assert models_asked("relabel") == 1
    state.remember_global(first_weights(config), keep=2)
    assert models_asked("pseudo-label-2") == 2


def _denoiser_that_knows(volumes: torch.Tensor) -> StateDict:
    weights = first_weights(tiny_config(), ModelName.DENOISER)
    weights["class_table.volumes"][: len(volumes)] = volumes
    return weights


def _ratios_of_ventricles(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The list that every wanted ratio of the ventricles is written to."""
    seen: list[float] = []

    def sizes(label_map: torch.Tensor, ratios: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        seen.extend(ratios[:, 3].tolist())
        return random_sizes(label_map, ratios, draw)

    monkeypatch.setattr("client.site_batches.random_sizes", sizes)
    return seen


@pytest.mark.parametrize("resize", [True, False])
def test_the_source_renders_structures_in_sizes_of_the_wanted_domain(
    source: Site, monkeypatch: pytest.MonkeyPatch, *, resize: bool
) -> None:
    seen = _ratios_of_ventricles(monkeypatch)
    volumes = torch.ones(3, 7)
    volumes[1, 3], volumes[2, 3] = 3.0, 0.5
    order = dataclasses.replace(order_for(Task.SYNTHESISE, phase="synthesise"), domains=("source", "target", "other"))
    run_task(source, tiny_config({"synthesise.resize": resize}), order, _denoiser_that_knows(volumes))
    assert seen == ([3.0, 3.0, 0.5, 0.5] if resize else [])
    kept = SiteState(source.workspace / "state").load_tensors("appearance")
    assert kept is not None
    torch.testing.assert_close(ClassAppearance(**kept).volumes, volumes)


def test_rendered_scans_show_as_much_around_the_structures_as_their_domain_does(source: Site) -> None:
    weights = _denoiser_that_knows(torch.zeros(3, 7))
    weights["class_table.rows"][:], weights["class_table.background"][:] = 0.2, 0.4
    weights["class_table.volumes"][1:, 1] = 1.0
    weights["class_table.volumes"][2, 0] = 1e6
    order = dataclasses.replace(order_for(Task.SYNTHESISE, phase="synthesise"), domains=("source", "target", "other"))
    config = tiny_config({"synthesise.deform": False})
    run_task(source, config, order, weights)
    state = SiteState(source.workspace / "state")
    around = {1: 0, 2: 0}
    for pair in state.load_examples("synthetic"):
        assert pair.label_map is not None
        around[pair.domain] += int(((pair.image > 0) & (pair.label_map == 0)).sum())
    # nothing in the first domain, all there is in the second; never air
    body = sum(
        int(((case.image > 0) & (case.label_map == 0)).sum())
        for case in training_cases(source, config.grid, state)
        if case.label_map is not None
    )
    assert around == {1: 0, 2: body}
    assert body > 100


def test_a_target_renders_what_its_own_scans_show(target: Site) -> None:
    config = tiny_config({"synthesise.deform": False})
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    weights = _denoiser_that_knows(torch.zeros(2, 7))
    weights["class_table.rows"][:], weights["class_table.background"][:] = 0.2, 0.4
    run_task(target, config, order_for(Task.SYNTHESISE, phase="synthesise"), weights)
    state = SiteState(target.workspace / "state")
    shown, scanned = (
        sorted(
            int(((example.image > 0) & (example.label_map == 0)).sum())
            for example in state.load_examples(name)
            if example.label_map is not None
        )
        for name in ("synthetic", "pseudo-labelled")
    )
    assert shown == scanned
    assert scanned[0] > 0


@pytest.mark.parametrize("resize", [True, False])
def test_the_source_refines_on_structures_in_sizes_of_its_partner(
    source: Site, monkeypatch: pytest.MonkeyPatch, *, resize: bool
) -> None:
    config = tiny_config({"refine.resize": resize, "synthesise.resize": False})
    volumes = torch.ones(3, 7)
    volumes[1, 3], volumes[2, 3] = 3.0, 0.5
    domains = ("source", "target", "other")
    render = dataclasses.replace(order_for(Task.SYNTHESISE, phase="synthesise"), domains=domains)
    run_task(source, config, render, _denoiser_that_knows(volumes))
    seen = _ratios_of_ventricles(monkeypatch)
    refine = dataclasses.replace(order_for(Task.REFINE_SOURCE, phase="refine-for-2"), domains=domains, partner=2)
    run_task(source, config, refine, first_weights(config))
    assert set(seen) == ({0.5} if resize else set())


def test_every_site_describes_its_classes_and_trains_nothing(source: Site, target: Site) -> None:
    config, before = tiny_config(TWO_CASES), first_weights(tiny_config(), ModelName.DENOISER)
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    for domain, site in enumerate((source, target)):
        reply = run_task(site, config, order_for(Task.DESCRIBE, phase="describe"), before)
        assert reply.weights is not None
        assert reply.num_examples == 2
        changed = {name for name, tensor in reply.weights.items() if not tensor.equal(before[name])}
        assert changed == {f"class_table.{part}" for part in ("rows", "spreads", "background", "volumes")}
        assert reply.weights["class_table.volumes"][domain].sum() > 1
        assert reply.weights["class_table.volumes"][1 - domain].abs().sum() == 0


def test_a_site_of_too_few_cases_tells_nothing_and_trains_beside_no_row(
    target: Site, caplog: pytest.LogCaptureFixture
) -> None:
    config, before = tiny_config(), first_weights(tiny_config(), ModelName.DENOISER)
    run_task(target, config, order_for(Task.PSEUDO_LABEL, phase="pseudo-label"), first_weights(config))
    for task, phase in ((Task.DESCRIBE, "describe"), (Task.DIFFUSE, "diffuse")):
        caplog.clear()
        weights = run_task(target, config, order_for(task, phase=phase), before).weights
        assert weights is not None
        assert all(weights[name].equal(before[name]) for name in weights if name.startswith("class_table."))
        assert caplog.messages == ["2 cases, and statistics leave over 3: this site tells nothing about its classes"]
        assert all(tensor.equal(before[name]) for name, tensor in weights.items()) == (task is Task.DESCRIBE)


def test_what_is_rendered_for_a_target_that_tells_nothing_keeps_its_surroundings(source: Site) -> None:
    config = tiny_config({"synthesise.deform": False})
    weights = _denoiser_that_knows(torch.zeros(2, 7))
    weights["class_table.background"][:] = 0.4  # anything but air
    run_task(source, config, order_for(Task.SYNTHESISE, phase="synthesise"), weights)
    state = SiteState(source.workspace / "state")
    shown = sum(int(((pair.image > 0) & (pair.label_map == 0)).sum()) for pair in state.load_examples("synthetic"))
    scanned = training_cases(source, config.grid, state)
    assert shown == sum(int(((case.image > 0) & (case.label_map == 0)).sum()) for case in scanned) > 100
