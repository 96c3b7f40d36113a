"""The stem only rearranges voxels: nothing is lost and nothing is mixed."""

from __future__ import annotations

import torch
from torch import nn

from diffuse_uda.models.space_to_depth import BlockwiseNetwork, depth_to_space, space_to_depth


def test_a_block_of_eight_voxels_becomes_eight_channels_of_one_position() -> None:
    # Voxel (i, j, k) of a 2x2x2 volume holds 4 i + 2 j + k, so the channels count from 0 to 7.
    volume = torch.arange(8.0).view(1, 1, 2, 2, 2)
    assert space_to_depth(volume).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert space_to_depth(volume).shape == (1, 8, 1, 1, 1)


def test_depth_to_space_is_the_exact_inverse_both_ways() -> None:
    volumes = torch.randn(2, 3, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    blocks = space_to_depth(volumes)
    assert blocks.shape == (2, 24, 2, 3, 4)
    assert torch.equal(depth_to_space(blocks), volumes)
    assert torch.equal(space_to_depth(depth_to_space(blocks)), blocks)


class _Plus(nn.Module):
    """Adds a number that comes with the call."""

    def forward(self, blocks: torch.Tensor, *, number: torch.Tensor) -> torch.Tensor:
        assert blocks.shape[1] == 8
        return blocks + number


def test_a_blockwise_network_sees_blocks_answers_voxels_and_passes_arguments_on() -> None:
    volumes = torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(BlockwiseNetwork(_Plus())(volumes, number=torch.tensor(2.0)), volumes + 2.0)
