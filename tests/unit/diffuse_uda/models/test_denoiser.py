"""The denoiser: conditioned on the label map and on the domain, in the voxels' own size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffuse_uda.algorithms.domain_contrast import NUM_QUANTILES, ClassAppearance
from diffuse_uda.config import DenoiserConfig
from diffuse_uda.models.denoiser import ClassTable, Denoiser, label_channels

TINY = DenoiserConfig(channels=(8, 16), attention_levels=(False, False), num_groups=4)


def denoiser(**changes: object) -> Denoiser:
    """A tiny denoiser whose last layer answers something: a fresh one starts at exact zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Denoiser(TINY.model_copy(update=changes), 3)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network


def answer(network: Denoiser, *, domain: int = 0, label: int = 1, time: float = 500.0) -> Tensor:
    noisy = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    label_map = torch.full((1, 1, 16, 16, 16), label)
    output: Tensor = network(
        noisy, torch.tensor([time]), label_channels(label_map, label_map > 0, 3), torch.tensor([domain])
    )
    return output


def test_label_channels_are_plus_one_in_the_class_and_minus_one_elsewhere() -> None:
    label_map = torch.tensor([0, 1, 2, 2]).view(1, 1, 4, 1, 1)
    channels = label_channels(label_map, label_map > 0, 3)
    assert channels.dtype == torch.float32
    assert channels.flatten(2).tolist() == [[[-1, 1, -1, -1], [-1, -1, 1, 1], [-1, -1, -1, -1]]]


def test_the_unlabelled_part_of_the_body_has_a_channel_of_its_own() -> None:
    label_map = torch.tensor([0, 0, 1, 2]).view(1, 1, 4, 1, 1)
    body = torch.tensor([False, True, True, False]).view(1, 1, 4, 1, 1)
    # what is labelled is no other tissue, and belongs to the body even where the scan is dark
    assert label_channels(label_map, body, 3)[0, :, :, 0, 0].tolist() == [
        [-1, -1, 1, -1],
        [-1, -1, -1, 1],
        [-1, 1, -1, -1],
    ]


def test_a_stored_uint8_label_map_gives_the_same_channels() -> None:
    label_map = torch.tensor([0, 1, 2, 2], dtype=torch.uint8).view(1, 1, 4, 1, 1)
    body = label_map > 0
    assert torch.equal(label_channels(label_map, body, 3), label_channels(label_map.long(), body, 3))


@pytest.mark.parametrize("stem", [1, 2])
def test_the_answer_has_one_channel_in_the_size_of_the_volume(stem: int) -> None:
    assert answer(denoiser(stem=stem)).shape == (1, 1, 16, 16, 16)


def test_a_fresh_denoiser_starts_at_zero() -> None:
    assert answer(Denoiser(TINY, 3)).abs().max() == 0.0


@pytest.mark.parametrize("change", [{"domain": 1}, {"label": 2}, {"time": 20.0}])
def test_domain_label_map_and_time_all_change_the_answer(change: dict[str, int]) -> None:
    network = denoiser()
    assert torch.equal(answer(network), answer(network))
    assert (answer(network) - answer(network, **change)).abs().max() > 1e-3


def test_without_domain_conditioning_every_domain_looks_the_same() -> None:
    network = denoiser(domain_conditioning=False)
    assert torch.equal(answer(network, domain=0), answer(network, domain=1))
    assert not any("class_embedding" in name for name in network.state_dict())


def appearance(clean: Tensor) -> ClassAppearance:
    """Classes of these clean intensities in [-1, 1], each of the same spread, in a body of grey."""
    return ClassAppearance(
        means=(clean + 1) / 2,
        spreads=torch.full(clean.shape, 0.1),
        background=torch.full((NUM_QUANTILES,), 0.5),
        volumes=torch.linspace(0.1, 0.9, len(clean)),
    )


def test_what_is_put_into_the_class_table_comes_out_of_it() -> None:
    table, known = ClassTable(3, 3), appearance(torch.tensor([-1.0, 0.25, 0.5]))
    table.describe(2, known)
    found = table.appearance([2, 0])
    for part in ("means", "spreads", "background", "volumes"):
        torch.testing.assert_close(getattr(found, part)[0], getattr(known, part))
    assert found.spreads[1].tolist() == [0.0, 0.0, 0.0]


def test_the_class_table_holds_one_intensity_for_every_domain_and_class() -> None:
    table = ClassTable(2, 3)
    table.describe(0, appearance(torch.tensor([-1.0, 0.25, 0.5])))
    table.describe(1, appearance(torch.tensor([-0.75, 0.0, 1.0])))
    label_map = torch.tensor([0, 0, 1, 2]).view(1, 1, 4, 1, 1).repeat(2, 1, 1, 1, 1)
    body = torch.tensor([False, True, True, True]).view(1, 1, 4, 1, 1).repeat(2, 1, 1, 1, 1)
    found = table(label_channels(label_map, body, 3), torch.tensor([0, 1]))
    assert found.shape == (2, 1, 4, 1, 1)
    # air, the middle of what has no label, the two structures
    assert found.flatten(1).tolist() == [[-1.0, 0.0, 0.25, 0.5], [-1.0, 0.0, 0.0, 1.0]]


def test_a_silent_network_answers_with_the_row_of_its_domain() -> None:
    network = Denoiser(TINY, 3)
    assert network.class_table is not None
    network.class_table.describe(1, appearance(torch.tensor([-1.0, 0.5, 0.75])))
    assert torch.equal(answer(network, domain=1, label=2), torch.full((1, 1, 16, 16, 16), 0.75))
    assert answer(network, domain=0, label=2).abs().max() == 0.0


def test_no_gradient_moves_the_class_table() -> None:
    network = denoiser()
    answer(network).sum().backward()  # type: ignore[no-untyped-call]
    assert network.class_table is not None
    assert network.class_table.rows.grad is None
    assert "class_table.rows" in network.state_dict()


def test_the_class_table_can_be_left_out() -> None:
    network = denoiser(class_table=False)
    assert network.class_table is None
    assert not any("class_table" in name for name in network.state_dict())
    assert answer(network).shape == (1, 1, 16, 16, 16)


def test_the_domain_table_has_a_row_for_every_site_that_may_join() -> None:
    network = denoiser(max_domains=5)
    assert network.state_dict()["network.network.class_embedding.weight"].shape[0] == 5


@pytest.mark.parametrize("stem", [1, 2])
def test_recomputed_activations_give_the_same_answer_and_gradients(stem: int) -> None:
    network = denoiser(stem=stem)
    found = []
    for recompute in (False, True):
        network.activation_checkpointing = recompute
        network.zero_grad()
        output = answer(network)
        output.square().mean().backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
        found.append([output.detach(), *gradients])
    assert len(found[0]) > 50
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_blocks_are_run_twice_only_while_training_with_recomputation() -> None:
    network = denoiser()
    norms = [module for name, module in network.named_modules() if name.endswith("resnets.0.norm1")]
    calls: list[object] = []
    for norm in norms:
        norm.register_forward_hook(lambda *inputs: calls.append(inputs))

    def count(*, recompute: bool, training: bool) -> int:
        calls.clear()
        network.activation_checkpointing = recompute
        network.train(training)
        answer(network).sum().backward()  # type: ignore[no-untyped-call]
        return len(calls)

    assert len(norms) == 4  # two blocks on the way down, two on the way up
    assert count(recompute=False, training=True) == 4
    assert count(recompute=True, training=True) == 8
    assert count(recompute=True, training=False) == 4
