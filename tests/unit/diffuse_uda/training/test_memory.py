"""Memory is told before a run: linear in voxels and batch, refused with numbers, or a smaller batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from diffuse_uda.config import ComputeConfig, DiffuseConfig, FitConfig, GridConfig, StudyConfig
from diffuse_uda.errors import MemoryEstimateError
from diffuse_uda.models import build_model
from diffuse_uda.training import memory
from diffuse_uda.training.memory import (
    GIB,
    MARGIN,
    MemoryEstimate,
    describe_memory,
    estimate_memory,
    free_bytes,
    largest_batch,
)
from diffuse_uda.types import ModelName

CPU = torch.device("cpu")
SetFree = Callable[[float], None]


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> SetFree:
    """Pretend that the device has so many bytes."""

    def pretend(num_bytes: float) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda _device: int(num_bytes))

    return pretend


def parameter_bytes(study: StudyConfig, name: ModelName) -> int:
    return 4 * sum(parameter.numel() for parameter in build_model(study, name, 3).parameters())


def test_a_step_needs_the_fixed_part_once_and_the_activations_once_a_volume() -> None:
    estimate = MemoryEstimate(model=ModelName.SEGMENTER, fixed_bytes=100, volume_bytes=10)
    assert [estimate.step_bytes(volumes) for volumes in (0, 1, 10)] == [130, 143, 260]


@pytest.mark.parametrize(("name", "copies"), [(ModelName.SEGMENTER, 5), (ModelName.DENOISER, 4)])
def test_the_fixed_part_is_weights_gradients_moments_and_a_segmenters_teacher(
    study: StudyConfig, name: ModelName, copies: int
) -> None:
    assert estimate_memory(study, name, 3, half=False).fixed_bytes == copies * parameter_bytes(study, name)


@pytest.mark.parametrize("name", list(ModelName))
def test_activations_grow_with_the_voxels_and_halve_in_half_precision(study: StudyConfig, name: ModelName) -> None:
    larger = study.model_copy(update={"grid": GridConfig(patch_size=(32, 16, 16))})
    small, twice = (estimate_memory(config, name, 3, half=False).volume_bytes for config in (study, larger))
    assert small > 16**3 * 4  # more than the volume itself
    assert twice == pytest.approx(2 * small, rel=1e-6)
    assert estimate_memory(study, name, 3, half=True).volume_bytes == small // 2


def test_the_estimate_is_what_autograd_keeps_for_a_whole_patch(study: StudyConfig) -> None:
    # Measured on a patch of 16^3 itself, not on the small crop. A few tensors have no voxels (statistics of the
    # norms); they weigh more in a small crop, hence the tolerance.
    model = build_model(study, ModelName.SEGMENTER, 3)
    kept: dict[int, int] = {}
    parameters = {parameter.data_ptr() for parameter in model.parameters()}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        output = model(torch.zeros(1, 1, 16, 16, 16)).sum()
    assert output.requires_grad
    estimate = estimate_memory(study, ModelName.SEGMENTER, 3, half=False).volume_bytes
    assert estimate == pytest.approx(sum(kept.values()), rel=0.1)


def test_recomputing_activations_needs_less_for_the_denoiser_and_the_same_for_the_segmenter(study: StudyConfig) -> None:
    recomputing = study.model_copy(update={"compute": ComputeConfig(activation_checkpointing=True)})

    def bytes_of(name: ModelName, config: StudyConfig) -> int:
        return estimate_memory(config, name, 3, half=False).volume_bytes

    assert bytes_of(ModelName.DENOISER, recomputing) < 0.85 * bytes_of(ModelName.DENOISER, study)
    assert bytes_of(ModelName.SEGMENTER, recomputing) == bytes_of(ModelName.SEGMENTER, study)


class _Exponentials(nn.Module):
    """Five exponentials; autograd keeps the result of each."""

    def forward(self, volume: Tensor) -> Tensor:
        for _ in range(5):
            volume = volume.exp()
        return volume


class _TwoBlocks(nn.Module):
    """A product, of which autograd keeps the volume, and two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))
        self.blocks = nn.ModuleList([_Exponentials(), _Exponentials()])

    def forward(self, volume: Tensor) -> Tensor:
        product = volume * self.factor
        for block in self.blocks:
            product = block(product)
        return product


def test_of_recomputed_blocks_all_results_and_one_inside_are_kept() -> None:
    # In volumes of 4^3 voxels, 256 bytes: 1 and 5 + 5 kept; or 1, two results, and one block's 5.
    assert memory._saved_bytes(_TwoBlocks(), 4, 3, []) == 11 * 256
    model = _TwoBlocks()
    assert memory._saved_bytes(model, 4, 3, list(model.blocks)) == 8 * 256


def test_measuring_leaves_the_global_generator_alone(study: StudyConfig) -> None:
    estimate_memory.cache_clear()
    before = torch.get_rng_state()
    estimate_memory(study, ModelName.DENOISER, 3, half=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.fault("R-14")
def test_the_wanted_batch_is_taken_when_it_fits_and_the_largest_that_fits_otherwise(
    study: StudyConfig, set_free: SetFree
) -> None:
    estimate = estimate_memory(study, ModelName.SEGMENTER, 3, half=False)

    def chosen(free: float) -> int:
        set_free(free)
        return largest_batch(study, ModelName.SEGMENTER, 3, wanted=6, smallest=2, device=CPU)

    assert chosen(estimate.step_bytes(6)) == 6
    assert chosen(estimate.step_bytes(6) - 1) == 5
    assert chosen(estimate.step_bytes(3) + 1) == 3
    assert chosen(estimate.step_bytes(2)) == 2


@pytest.mark.fault("R-14")
def test_what_does_not_fit_at_all_is_refused_with_both_numbers_and_a_way_out(
    study: StudyConfig, set_free: SetFree
) -> None:
    huge = study.model_copy(update={"grid": GridConfig(patch_size=(512, 512, 512))})
    needed = estimate_memory(huge, ModelName.SEGMENTER, 3, half=False).step_bytes(2)
    set_free(1.5 * GIB)
    with pytest.raises(MemoryEstimateError) as error:
        largest_batch(huge, ModelName.SEGMENTER, 3, wanted=2, smallest=2, device=CPU)
    for part in (
        f"the segmenter needs about {needed / GIB:.1f} GiB with 2 volumes of (512, 512, 512) voxels",
        "1.5 GiB are free on cpu",
        "set a smaller grid.patch-size",
    ):
        assert part in str(error.value)


def test_on_a_gpu_half_precision_decides_what_fits(study: StudyConfig, set_free: SetFree) -> None:
    cuda = torch.device("cuda")
    half = estimate_memory(study, ModelName.DENOISER, 3, half=True)
    set_free(half.step_bytes(4))
    assert largest_batch(study, ModelName.DENOISER, 3, wanted=4, smallest=1, device=cuda) == 4
    full = study.model_copy(update={"compute": ComputeConfig(amp=False)})
    assert largest_batch(full, ModelName.DENOISER, 3, wanted=4, smallest=1, device=cuda) < 4


def test_the_operator_reads_one_line_with_both_models_and_the_free_memory(
    study: StudyConfig, set_free: SetFree
) -> None:
    set_free(3 * GIB)
    batches = {"warm_up": FitConfig(batch_size=3), "diffuse": DiffuseConfig(batch_size=5)}
    line = describe_memory(study.model_copy(update=batches), 3, CPU)
    # The largest batch of the segmenter, in two looks.
    assert line.startswith("memory of one step: segmenter 0.0 GiB (6 volumes), denoiser 0.0 GiB (5 volumes); ")
    assert line.endswith("free on cpu: 3.0 GiB")
    assert "\n" not in line


def test_free_memory_of_a_gpu_is_what_its_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (5, 9))
    assert free_bytes(torch.device("cuda")) == 5


def test_free_main_memory_counts_file_caches_where_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_AVPHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    cached = free_bytes(CPU)
    assert cached >= 40960

    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", absent)
    assert free_bytes(CPU) == 40960


def test_the_margin_is_for_what_no_tensor_shows() -> None:
    assert MARGIN == 1.3
