"""The same tasks on a GPU: bf16, channels-last, and nothing of either in what leaves the site."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from client.site import Site, open_site
from client.tasks import introduce, run_task
from diffuse_uda.algorithms.aggregation import federated_average
from diffuse_uda.config import ComputeConfig, StudyConfig
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange, Phase, PhaseName, Task
from diffuse_uda.models import build_model, initial_weights
from diffuse_uda.models.denoiser import Denoiser, label_channels
from diffuse_uda.training.device import autocast, choose_device, place
from diffuse_uda.training.generator import render
from diffuse_uda.training.inference import predict_probabilities
from diffuse_uda.training.memory import free_bytes
from diffuse_uda.types import ModelName, SiteRole, WeightUpdate
from simulations.phantom.centres import SOURCE_T1W, TARGET_T2W
from simulations.phantom.cohort import write_cohort

pytestmark = pytest.mark.gpu

GPU = "cuda"


def study(device: str = GPU) -> StudyConfig:
    """Every phase once, in the smallest sizes."""
    return StudyConfig.from_flat(
        {
            "grid.patch-size": "[16, 16, 16]",
            "grid.spacing-mm": "[12.0, 12.0, 12.0]",
            "segmenter.channels": "[4, 8]",
            "denoiser.channels": "[8, 16]",
            "denoiser.attention-levels": "[false, false]",
            "denoiser.num-groups": 4,
            "diffusion.num-inference-steps": 2,
            "warm-up.num-local-steps": 3,
            "adapt.num-local-steps": 2,
            "diffuse.num-local-steps": 2,
            "refine.num-local-steps": 2,
            "compute.device": device,
            "compute.num-threads": 1,
        }
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A source and a target with two training scans and a held-out one each."""
    small = [
        dataclasses.replace(centre, num_train=2, num_test=1, num_development=0) for centre in (SOURCE_T1W, TARGET_T2W)
    ]
    folder = tmp_path_factory.mktemp("cohort") / "tiny"
    return write_cohort(folder, seed=3, centres=small, shape=(16, 16, 16), spacing_mm=(12.0, 12.0, 12.0))


def open_sites(cohort: list[Path], workspace: Path) -> list[Site]:
    roles = (SiteRole.SOURCE, SiteRole.TARGET)
    return [
        open_site(
            {
                "site-id": data_dir.name,
                "role": role.value,
                "data-dir": str(data_dir),
                "workspace": str(workspace / data_dir.name),
            }
        )
        for data_dir, role in zip(cohort, roles, strict=True)
    ]


def order_for(phase: Phase, task: Task, sites: list[Site], label_names: tuple[str, ...]) -> WorkOrder:
    return WorkOrder(
        task=task,
        phase=phase.label,
        server_round=1,
        num_rounds=1,
        pass_index=phase.pass_index,
        row=phase.row,
        domains=tuple(site.site_id for site in sites),
        label_names=label_names,
    )


def walk(config: StudyConfig, sites: list[Site], until: PhaseName | None = None) -> dict[str, list[SiteReply]]:
    """One round of every phase at every site, averaged by cases: replies by the phase's label."""
    label_names = introduce(sites[0], config).label_names
    models = {name: initial_weights(config, name, len(label_names)) for name in ModelName}
    replies: dict[str, list[SiteReply]] = {}
    for phase in build_method(config).phases:
        asked = [site for site in sites if site.role in phase.tasks]
        replies[phase.label] = [
            run_task(site, config, order_for(phase, phase.tasks[site.role], sites, label_names), models[phase.model])
            for site in asked
        ]
        if phase.exchange is Exchange.WEIGHTS:
            models[phase.model] = federated_average(
                [
                    WeightUpdate(site_id=site.site_id, weights=reply.weights, num_examples=reply.num_examples)
                    for site, reply in zip(asked, replies[phase.label], strict=True)
                    if reply.weights is not None
                ]
            )
        if phase.name is until:
            break
    return replies


def test_every_task_of_every_phase_runs_and_what_leaves_is_float32_on_the_cpu(
    cohort: list[Path], tmp_path: Path
) -> None:
    config = study()
    replies = walk(config, open_sites(cohort, tmp_path))
    assert list(replies) == [phase.label for phase in build_method(config).phases]
    sent = [reply for phase in replies.values() for reply in phase if reply.weights is not None]
    assert len(sent) == 1 + 2 + 2 + 2  # warm-up at the source; adapt, diffuse and refine at both
    for reply in sent:
        assert reply.weights is not None
        assert math.isfinite(reply.metrics["loss"])
        for tensor in reply.weights.values():
            assert tensor.device.type == "cpu"
            assert tensor.dtype == torch.float32
            assert bool(torch.isfinite(tensor).all())
    assert 0.0 <= replies["evaluate-diffuse-uda"][0].metrics["dice"] <= 1.0


def test_a_round_in_bf16_has_the_loss_of_a_round_in_float32(cohort: list[Path], tmp_path: Path) -> None:
    def warm_up_loss(device: str) -> float:
        replies = walk(study(device), open_sites(cohort, tmp_path / device), until=PhaseName.WARM_UP)
        return replies["warm-up"][0].metrics["loss"]

    assert warm_up_loss(GPU) == pytest.approx(warm_up_loss("cpu"), rel=0.05)


@pytest.mark.parametrize("name", list(ModelName))
def test_weights_lie_channels_last_on_the_gpu_and_keep_their_names(name: ModelName) -> None:
    config = study()
    model = place(build_model(config, name, 3), choose_device(config.compute), config.compute)
    assert model.state_dict().keys() == initial_weights(config, name, 3).keys()
    for parameter in model.parameters():
        assert parameter.device.type == GPU
        if parameter.ndim == 5:
            assert parameter.is_contiguous(memory_format=torch.channels_last_3d)


def test_probabilities_of_the_gpu_are_those_of_the_cpu_to_bf16() -> None:
    image = torch.rand(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for device in (GPU, "cpu"):
        config = study(device)
        model = build_model(config, ModelName.SEGMENTER, 3)
        model.load_state_dict(initial_weights(config, ModelName.SEGMENTER, 3))
        placed = place(model, choose_device(config.compute), config.compute)
        found.append(predict_probabilities(placed, image, config.grid, config.compute))
    assert all(probabilities.device.type == "cpu" for probabilities in found)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0.05)


def test_equal_seeds_render_equal_images_on_the_gpu() -> None:
    config = study()
    denoiser = _denoiser(config)
    label_map = torch.zeros(1, 1, 16, 16, 16, dtype=torch.uint8, device=GPU)
    body = torch.ones_like(label_map, dtype=torch.bool)
    domain = torch.tensor([0], device=GPU)

    def rendered(seed: int) -> torch.Tensor:
        with autocast(torch.device(GPU), config.compute):
            draw = torch.Generator().manual_seed(seed)
            return render(denoiser, label_map, domain, config.diffusion, draw, body=body)

    assert rendered(1).device.type == GPU
    torch.testing.assert_close(rendered(1), rendered(1))
    assert (rendered(1) - rendered(2)).abs().max() > 1e-3


def test_recomputed_activations_need_less_memory_and_give_the_same_gradients() -> None:
    config = study()
    found = []
    for recompute in (False, True):
        denoiser = _denoiser(config)
        denoiser.activation_checkpointing = recompute
        noisy = torch.randn(2, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0)).to(GPU)
        label_map = torch.zeros(2, 1, 64, 64, 64, dtype=torch.uint8, device=GPU)
        condition = label_channels(label_map, label_map == 0, 3)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        output = denoiser(noisy, torch.full((2,), 500.0, device=GPU), condition, torch.tensor([0, 1], device=GPU))
        output.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in denoiser.parameters() if p.grad is not None])
        found.append((torch.cuda.max_memory_allocated() - before, gradient.cpu()))
    assert found[1][0] < found[0][0]
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-2, atol=1e-4)


@pytest.mark.slow
def test_a_compiled_model_keeps_its_names_and_its_answer() -> None:
    config = study()
    compiled = config.model_copy(update={"compute": ComputeConfig(device="cuda", compile=True)})
    volumes = torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)).to(GPU)
    answers = []
    for variant in (config, compiled):
        weights = initial_weights(variant, ModelName.SEGMENTER, 3)
        model = build_model(variant, ModelName.SEGMENTER, 3)
        model.load_state_dict(weights)
        model = place(model, torch.device(GPU), variant.compute).eval()
        assert model.state_dict().keys() == weights.keys()
        with torch.no_grad():
            answers.append(model(volumes))
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-2)


def test_the_driver_says_how_much_memory_is_free() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    assert 0 < free_bytes(torch.device(GPU)) <= total


def _denoiser(config: StudyConfig) -> Denoiser:
    """On the GPU, with a last layer that answers something: a fresh one is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = build_model(config, ModelName.DENOISER, 3)
        with torch.no_grad():
            for parameter in denoiser.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    placed = place(denoiser, torch.device(GPU), config.compute)
    assert isinstance(placed, Denoiser)
    return placed
