"""The network that labels voxels: the paper's SegResNet, or a residual U-Net that a CPU can train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from diffuse_uda.config import SegmenterConfig
from diffuse_uda.models.space_to_depth import NUM_POSITIONS, BlockwiseNetwork


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A stock MONAI network, so that whoever has MONAI can build it without this package."""

    network: str
    """Class in `monai.networks.nets`."""
    arguments: Mapping[str, Any]
    """Keyword arguments; plain values that JSON keeps."""
    stem: int
    """2 if the network works on 2x2x2 blocks (`space_to_depth` before it, `depth_to_space` after it)."""


def segmenter_architecture(config: SegmenterConfig, num_classes: int) -> Architecture:
    """Describe the network of a study; `num_classes` counts the background."""
    blocks = NUM_POSITIONS if config.stem == 2 else 1
    ends = {"spatial_dims": 3, "in_channels": blocks, "out_channels": num_classes * blocks}
    if config.kind == "segresnet":
        own: dict[str, Any] = {
            "init_filters": config.channels[0],
            "dropout_prob": config.dropout or None,
            "norm": ["GROUP", {"num_groups": config.num_groups}],
            "blocks_down": list(config.blocks_down),
            "blocks_up": list(config.blocks_up),
        }
        return Architecture(network="SegResNet", arguments={**ends, **own}, stem=config.stem)
    own = {
        "channels": list(config.channels),
        "strides": [2] * (len(config.channels) - 1),
        "num_res_units": config.num_res_units,
        "norm": "INSTANCE",
        "dropout": config.dropout,
    }
    return Architecture(network="UNet", arguments={**ends, **own}, stem=config.stem)


def build_segmenter(config: SegmenterConfig, num_classes: int) -> nn.Module:
    """Build a network that maps (batch, 1, i, j, k) in [0, 1] to logits (batch, num_classes, i, j, k).

    Norms are group or instance norms: no running statistics, so averaged weights mean the same at every site.

    Args:
        config: Kind and sizes.
        num_classes: Classes including the background.
    """
    from monai.networks import nets  # noqa: PLC0415 - seconds, for those alone who build a network

    architecture = segmenter_architecture(config, num_classes)
    network: nn.Module = getattr(nets, architecture.network)(**architecture.arguments)
    return BlockwiseNetwork(network) if architecture.stem == 2 else network
