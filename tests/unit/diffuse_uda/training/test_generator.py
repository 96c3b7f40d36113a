"""The generator learns from what is trusted, and renders what seed, label map and domain say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from diffuse_uda.config import DiffusionConfig, FitConfig, StudyConfig
from diffuse_uda.models import build_denoiser
from diffuse_uda.models.denoiser import Denoiser
from diffuse_uda.training.batches import Batch
from diffuse_uda.training.fitting import fit
from diffuse_uda.training.generator import TIME_SCALE, denoising_loss, render
from diffuse_uda.training.schedule import RoundPlan

SMALL = DiffusionConfig(num_train_timesteps=6, num_inference_steps=3)
RECIPES = {
    "flow-sample": SMALL,
    "flow-velocity": SMALL.model_copy(update={"prediction_type": "velocity"}),
    "ddpm": SMALL.model_copy(update={"recipe": "ddpm", "prediction_type": "epsilon"}),
}
each_recipe = pytest.mark.parametrize("diffusion", RECIPES.values(), ids=RECIPES.keys())


def fresh(study: StudyConfig, diffusion: DiffusionConfig) -> Denoiser:
    is_clean = diffusion.prediction_type == "sample"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_denoiser(study.denoiser.model_copy(update={"class_table": is_clean}), 3)


@pytest.fixture
def denoiser(study: StudyConfig) -> Denoiser:
    """With a last layer that answers something: a fresh one is zero."""
    network = fresh(study, SMALL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> Batch:
    label_map = torch.zeros(2, 1, 16, 16, 16, dtype=torch.uint8)
    label_map[:, :, 4:8], label_map[:, :, 8:12] = 1, 2
    return Batch(
        images=label_map * 0.4,
        label_map=label_map,
        voxel_weight=torch.ones(2, 1, 16, 16, 16),
        domains=torch.tensor([0, 1]),
    )


@each_recipe
def test_the_loss_of_a_denoiser_that_answers_zero_is_that_of_its_target(
    study: StudyConfig, diffusion: DiffusionConfig
) -> None:
    # Mean square of the clean volume: 1/2 of it -1, 1/4 of it -0.2, 1/4 of it 0.6. The mean square of x_0 - epsilon is
    # 1 more. The mean of |epsilon| of a normal distribution is sqrt(2 / pi) = 0.798. Where the clean volume is
    # asked for the class table answers as well, and knows one thing from the start: air is -1.
    loss = float(denoising_loss(fresh(study, diffusion), batch(), diffusion, generator()).detach())
    air, tissue = 0.5 * 1.0, 0.25 * 0.04 + 0.25 * 0.36
    wanted = {"sample": tissue, "velocity": 1.0 + air + tissue, "epsilon": 0.798}
    assert loss == pytest.approx(wanted[diffusion.prediction_type], rel=0.03)


@each_recipe
def test_voxels_of_weight_zero_do_not_matter(denoiser: Denoiser, diffusion: DiffusionConfig) -> None:
    # With the weight on one half, the answer on the other half must have no say: its gradient is zero.
    weighted = batch()
    weighted.voxel_weight[:, :, 8:] = 0.0
    answers: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        answers.append(output)

    denoiser.register_forward_hook(keep)
    denoising_loss(denoiser, weighted, diffusion, generator()).backward()  # type: ignore[no-untyped-call]
    gradient = answers[0].grad
    assert gradient is not None
    assert gradient[:, :, 8:].abs().max() == 0.0
    assert gradient[:, :, :8].abs().min() > 0.0


@each_recipe
def test_the_scale_of_the_weights_does_not_matter(denoiser: Denoiser, diffusion: DiffusionConfig) -> None:
    whole = batch()
    half = dataclasses.replace(whole, voxel_weight=whole.voxel_weight * 0.5)
    torch.testing.assert_close(
        denoising_loss(denoiser, whole, diffusion, generator()), denoising_loss(denoiser, half, diffusion, generator())
    )


@each_recipe
def test_times_reach_the_network_on_the_scale_of_its_embedding(denoiser: Denoiser, diffusion: DiffusionConfig) -> None:
    seen: list[Tensor] = []
    denoiser.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[1]))
    for seed in range(20):
        denoising_loss(denoiser, batch(), diffusion, generator(seed))
    times = torch.cat(seen)
    assert float(times.min()) >= 0.0
    assert 0.6 * TIME_SCALE < float(times.max()) <= TIME_SCALE
    if diffusion.recipe == "ddpm":  # six timesteps, 1000 / 6 apart
        assert {round(float(time) / (TIME_SCALE / 6), 3) for time in times} <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


@each_recipe
def test_a_few_steps_lower_the_loss(study: StudyConfig, diffusion: DiffusionConfig) -> None:
    network = fresh(study, diffusion)
    plan = RoundPlan.of(FitConfig(num_local_steps=25, learning_rate=5e-3), 1)
    draw = generator()
    losses = fit(network, lambda _step: denoising_loss(network, batch(), diffusion, draw), plan).losses
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@each_recipe
def test_equal_seeds_render_equal_images_in_range(denoiser: Denoiser, diffusion: DiffusionConfig) -> None:
    label_map, domains = batch().label_map, torch.tensor([0, 1])
    images = render(denoiser, label_map, domains, diffusion, generator(1), body=label_map > 0)
    assert images.shape == label_map.shape
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    assert not images.requires_grad
    assert torch.equal(images, render(denoiser, label_map, domains, diffusion, generator(1), body=label_map > 0))
    assert not torch.equal(images, render(denoiser, label_map, domains, diffusion, generator(2), body=label_map > 0))


@each_recipe
def test_the_domain_and_the_label_map_choose_what_is_rendered(denoiser: Denoiser, diffusion: DiffusionConfig) -> None:
    def rendered(label_map: Tensor, domain: int) -> Tensor:
        return render(denoiser, label_map, torch.tensor([domain]), diffusion, generator(), body=body)

    label_map = batch().label_map[:1]
    body = torch.ones_like(label_map, dtype=torch.bool)
    here = rendered(label_map, 0)
    assert (here - rendered(label_map, 1)).abs().max() > 1e-3
    assert (here - rendered(torch.zeros_like(label_map), 0)).abs().max() > 1e-3


def test_the_flow_takes_the_steps_of_the_study_and_the_ddpm_all_of_its_own(denoiser: Denoiser) -> None:
    seen: list[float] = []
    denoiser.register_forward_pre_hook(lambda _module, inputs: seen.append(float(inputs[1][0])))
    found = {}
    for recipe, diffusion in RECIPES.items():
        seen.clear()
        one = batch().label_map[:1]
        render(denoiser, one, torch.tensor([0]), diffusion, generator(), body=one > 0)
        found[recipe] = [round(time) for time in seen]
    assert found["flow-sample"] == found["flow-velocity"] == [1000, 667, 333]
    assert found["ddpm"] == [833, 667, 500, 333, 167, 0]


def test_a_denoiser_that_knows_the_clean_image_renders_it_whatever_the_noise(study: StudyConfig) -> None:
    # The class table alone, with the network still at zero: -1, -0.2 and 0.6 are intensities 0, 0.4 and 0.8.
    network = fresh(study, SMALL)
    assert network.class_table is not None
    with torch.no_grad():
        network.class_table.rows[1] = torch.tensor([-1.0, -0.2, 0.6])
        network.class_table.background[1] = 0.2
    label_map = batch().label_map
    images = render(network, label_map, torch.tensor([1, 1]), SMALL, generator(), body=label_map > 0)
    torch.testing.assert_close(images, batch().images, rtol=0, atol=1e-5)
    # with what lies behind the structures shown as well
    body = torch.zeros_like(label_map, dtype=torch.bool)
    body[:, :, 12:14] = True
    shown = render(network, label_map, torch.tensor([1, 1]), SMALL, generator(), body=body)
    torch.testing.assert_close(shown, torch.where(body, 0.6, batch().images), rtol=0, atol=1e-5)


def test_the_loss_tells_unlabelled_tissue_from_air(study: StudyConfig) -> None:
    # What the table knows of every class and of the unlabelled tissue is the whole image: nothing is left to learn.
    network = fresh(study, SMALL)
    assert network.class_table is not None
    with torch.no_grad():
        network.class_table.rows[:] = torch.tensor([-1.0, -0.2, 0.6])
        network.class_table.background[:] = 0.2
    explained = batch()
    explained.images[:, :, 12:14] = 0.6
    assert float(denoising_loss(network, explained, SMALL, generator()).detach()) < 1e-10


@each_recipe
def test_nothing_is_rendered_outside_the_body(denoiser: Denoiser, diffusion: DiffusionConfig) -> None:
    label_map = batch().label_map
    body = label_map > 0
    body[:, :, 12:13] = True
    images = render(denoiser, label_map, torch.tensor([0, 1]), diffusion, generator(), body=body)
    assert images[~body].abs().max() == 0.0
    assert (images[body] > 0).float().mean() > 0.2
