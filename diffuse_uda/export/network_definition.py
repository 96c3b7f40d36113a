"""The segmenter as MONAI configuration: stock classes alone, and the names that its weights have there."""

from __future__ import annotations

from typing import Any

from diffuse_uda.models.segmenter import Architecture
from diffuse_uda.models.space_to_depth import FACTOR
from diffuse_uda.types import StateDict

_OURS, _STOCK = "network.", "1."
"""A network on blocks is the second of three modules there."""


def network_definition(architecture: Architecture) -> dict[str, Any]:
    """What `monai.bundle.ConfigParser` builds the network from.

    A network on 2x2x2 blocks stands between MONAI's own sub-pixel blocks, which order channels as `space_to_depth` does
    for one channel, and as `depth_to_space` does for many.
    """
    network = {"_target_": f"monai.networks.nets.{architecture.network}", **architecture.arguments}
    if architecture.stem == 1:
        return {"network_def": network}
    ends = {"spatial_dims": 3, "scale_factor": FACTOR, "conv_block": None}
    return {
        "network_on_blocks": network,
        "to_blocks": {"_target_": "monai.networks.blocks.SubpixelDownsample", "in_channels": 1, **ends},
        "from_blocks": {
            "_target_": "monai.networks.blocks.SubpixelUpsample",
            "in_channels": architecture.arguments["out_channels"],
            "apply_pad_pool": False,
            **ends,
        },
        "network_def": "$torch.nn.Sequential(@to_blocks, @network_on_blocks, @from_blocks)",
    }


def stock_weights(architecture: Architecture, weights: StateDict) -> StateDict:
    """The segmenter's weights under the names that the network of `network_definition` has."""
    if architecture.stem == 1:
        return dict(weights)
    return {f"{_STOCK}{name.removeprefix(_OURS)}": tensor for name, tensor in weights.items()}
