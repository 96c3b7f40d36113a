"""A segmenter with its critics: small networks that tell a student's decoder features from its teacher's (LE-UDA)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from diffuse_uda.config import SegmenterConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.models.space_to_depth import BlockwiseNetwork

NUM_LEVELS = 2
"""Decoder levels that are judged, from the finest that is no answer yet."""
CRITIC_CHANNELS = 16

Features = list[Float[Tensor, "batch channel i j k"]]


class FeatureCritic(nn.Sequential):
    """One verdict for every patch of a feature map; without norms, since two kinds of features share a batch."""

    def __init__(self, in_channels: int) -> None:
        """Build three convolutions, which see seven positions along each axis."""
        from monai.networks.blocks import Convolution  # noqa: PLC0415 - seconds, for those alone who build a network

        super().__init__(
            Convolution(3, in_channels, CRITIC_CHANNELS, kernel_size=3, norm=None, act="LEAKYRELU"),
            Convolution(3, CRITIC_CHANNELS, CRITIC_CHANNELS, kernel_size=3, norm=None, act="LEAKYRELU"),
            Convolution(3, CRITIC_CHANNELS, 1, kernel_size=3, conv_only=True),
        )


class CriticisedSegmenter(nn.Module):
    """A segmenter that carries critics of its features; called, it is the segmenter alone.

    They travel together: the critics are averaged like the rest, and a site that only predicts does not notice them.
    """

    def __init__(self, segmenter: nn.Module, config: SegmenterConfig) -> None:
        """Wrap a segmenter of that configuration.

        Raises:
            ConfigError: If its decoder has fewer levels than are judged.
        """
        super().__init__()
        self.segmenter = segmenter
        self._levels = decoder_levels(segmenter)  # a tuple: registered with the segmenter already
        channels = [_channels(config, level) for level in range(NUM_LEVELS)]
        self.intra = nn.ModuleList(FeatureCritic(count) for count in channels)
        """Student against the teacher of the same look."""
        self.inter = nn.ModuleList(FeatureCritic(count) for count in channels)
        """Student against the teacher of the other look."""

    def forward(self, volumes: Float[Tensor, "batch 1 i j k"]) -> Float[Tensor, "batch klass i j k"]:
        """Logits."""
        logits: Tensor = self.segmenter(volumes)
        return logits

    def with_features(
        self, volumes: Float[Tensor, "batch 1 i j k"]
    ) -> tuple[Float[Tensor, "batch klass i j k"], Features]:
        """Logits, and what the judged levels of the decoder put out, finest first."""
        features: Features = []
        hooks = [
            level.register_forward_hook(lambda _module, _inputs, output: features.append(output))
            for level in self._levels
        ]
        try:
            logits: Tensor = self.segmenter(volumes)
        finally:
            for hook in hooks:
                hook.remove()
        return logits, features[::-1]


def decoder_levels(segmenter: nn.Module) -> tuple[nn.Module, ...]:
    """Modules whose output is judged, finest first; they run in the reverse order.

    Raises:
        ConfigError: If the decoder has fewer levels.
    """
    from monai.networks.nets import SegResNet, UNet  # noqa: PLC0415 - seconds, for those alone who build a network

    network = segmenter.network if isinstance(segmenter, BlockwiseNetwork) else segmenter
    if isinstance(network, SegResNet):
        levels = list(network.up_layers)[::-1]
    elif isinstance(network, UNet):
        levels = _unet_levels(network.model)
    else:
        msg = f"critics need a UNet or a SegResNet, found {type(network).__name__}"
        raise ConfigError(msg)
    if len(levels) < NUM_LEVELS:
        msg = (
            f"critics judge {NUM_LEVELS} levels of the decoder, this segmenter has {len(levels)}: give "
            "segmenter.channels more entries, or set ensemble.adversarial-weight = 0"
        )
        raise ConfigError(msg)
    return tuple(levels[:NUM_LEVELS])


def verdicts(critics: nn.ModuleList, features: Sequence[Tensor], *, learns: bool) -> list[Tensor]:
    """What the critics say about features, a tensor a level.

    Args:
        critics: One for every level.
        features: As `CriticisedSegmenter.with_features` gives them.
        learns: Whether the gradient goes to the critics and stops at the features, or the other way round.
    """
    if learns:
        return [critic(part.detach()) for critic, part in zip(critics, features, strict=True)]
    return [
        functional_call(critic, {name: weight.detach() for name, weight in critic.named_parameters()}, (part,))
        for critic, part in zip(critics, features, strict=True)
    ]


def _unet_levels(model: nn.Module) -> list[nn.Module]:
    """Up-blocks of a UNet's `model` from fine to coarse; the finest of all puts out logits and is left out."""
    levels: list[nn.Module] = []
    block = model
    while isinstance(block, nn.Sequential) and len(block) > NUM_LEVELS:
        levels.append(block[2])
        block = block[1].get_submodule("submodule")
    return levels[1:]


def _channels(config: SegmenterConfig, level: int) -> int:
    if config.kind == "segresnet":
        return config.channels[0] * (1 << level)
    return config.channels[level]
