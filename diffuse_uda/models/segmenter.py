"""The network that labels voxels: the paper's SegResNet, or a residual U-Net that a CPU can train."""

from __future__ import annotations

from torch import nn

from diffuse_uda.config import SegmenterConfig
from diffuse_uda.models.space_to_depth import NUM_POSITIONS, BlockwiseNetwork


def build_segmenter(config: SegmenterConfig, num_classes: int) -> nn.Module:
    """Build a network that maps (batch, 1, i, j, k) in [0, 1] to logits (batch, num_classes, i, j, k).

    Norms are group or instance norms: no running statistics, so averaged weights mean the same at every site.

    Args:
        config: Kind and sizes.
        num_classes: Classes including the background.
    """
    from monai.networks.nets import SegResNet, UNet  # noqa: PLC0415 - seconds, for those alone who build a network

    blocks = NUM_POSITIONS if config.stem == 2 else 1
    network: nn.Module
    if config.kind == "segresnet":
        network = SegResNet(
            spatial_dims=3,
            init_filters=config.channels[0],
            in_channels=blocks,
            out_channels=num_classes * blocks,
            dropout_prob=config.dropout or None,
            norm=("GROUP", {"num_groups": config.num_groups}),
            blocks_down=config.blocks_down,
            blocks_up=config.blocks_up,
        )
    else:
        network = UNet(
            spatial_dims=3,
            in_channels=blocks,
            out_channels=num_classes * blocks,
            channels=config.channels,
            strides=(2,) * (len(config.channels) - 1),
            num_res_units=config.num_res_units,
            norm="INSTANCE",
            dropout=config.dropout,
        )
    return BlockwiseNetwork(network) if config.stem == 2 else network
