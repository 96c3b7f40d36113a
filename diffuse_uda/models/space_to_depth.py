"""A 2x2x2 stem: the network works on eight times fewer positions with eight times more input channels."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

FACTOR = 2
NUM_POSITIONS = FACTOR**3


def space_to_depth(volumes: Float[Tensor, "batch channel i j k"]) -> Float[Tensor, "batch channel8 i2 j2 k2"]:
    """Move every 2x2x2 block of voxels into channels; nothing is lost, see `depth_to_space`.

    Args:
        volumes: Sizes along i, j and k must be even.
    """
    return rearrange(volumes, "b c (i a) (j e) (k f) -> b (c a e f) i j k", a=FACTOR, e=FACTOR, f=FACTOR)


def depth_to_space(features: Float[Tensor, "batch channel8 i2 j2 k2"]) -> Float[Tensor, "batch channel i j k"]:
    """Undo `space_to_depth`."""
    return rearrange(features, "b (c a e f) i j k -> b c (i a) (j e) (k f)", a=FACTOR, e=FACTOR, f=FACTOR)


class BlockwiseNetwork(nn.Module):
    """A network that sees 2x2x2 blocks and answers for every voxel.

    The MONAI papers' full-resolution nets spend most of their time on the finest level; on a CPU this stem is what
    makes whole volumes affordable.
    """

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network whose input and output have `NUM_POSITIONS` times the channels of this one's."""
        super().__init__()
        self.network = network

    def forward(self, volumes: Tensor, *arguments: Tensor, **named: Tensor) -> Tensor:
        """Apply the network to blocks; further arguments go to it unchanged."""
        output: Tensor = self.network(space_to_depth(volumes), *arguments, **named)
        return depth_to_space(output)
