"""The diffusion network: conditioned on the label map and on the domain (whose scanner to look like)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from diffuse_uda.algorithms.domain_contrast import NUM_QUANTILES, ClassAppearance
from diffuse_uda.config import DenoiserConfig
from diffuse_uda.models.space_to_depth import NUM_POSITIONS, BlockwiseNetwork

AIR = -1.0
"""Clean intensity of what is no body: exactly zero after normalisation, the low end of the denoiser's range."""


def label_channels(
    label_map: Int[Tensor, "batch 1 i j k"], body: Bool[Tensor, "batch 1 i j k"], num_classes: int
) -> Float[Tensor, "batch klass i j k"]:
    """One-hot channels in {-1, 1}, the condition of Med-DDPM (arXiv:2305.18453), with where the body is beside it.

    Unlabelled tissue and air are both background to a segmenter. Under one name the network would learn their mean, a
    halo around every structure at the surface, and nothing that is rendered would end where a scan of that site ends.

    Args:
        label_map: Class of every voxel.
        body: What a scan shows: intensities above zero.
        num_classes: Classes, background included.

    Returns:
        A channel for every structure, then one for the unlabelled part of the body; air is -1 in all of them.
    """
    classes = torch.where((label_map == 0) & body, num_classes, label_map.long())
    one_hot = functional.one_hot(classes[:, 0], num_classes + 1).movedim(-1, 1)[:, 1:]
    return one_hot.to(torch.float32) * 2 - 1


class ClassTable(nn.Module):
    """One clean intensity for every domain and class: the image a label map alone would explain.

    What of the body is unlabelled takes the median of its histogram. That histogram, and the spread and the volume of
    every class, serve without any network: they show a labelled scan as if taken there (`in_known_contrast`).

    With it the network has to learn only what differs from the mean of a class (texture, partial volume, bias field,
    what is not labelled). Without it a small network needs thousands of steps before its images follow the label map.

    Every site sets its own row in closed form; no gradient moves it. A trained row drifts with its site's copy of
    the network, and no longer fits the network once that is averaged with the others'.
    """

    def __init__(self, num_domains: int, num_classes: int) -> None:
        """Start at zero, the middle of the intensities [-1, 1]."""
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(num_domains, num_classes), requires_grad=False)
        self.spreads = nn.Parameter(torch.zeros(num_domains, num_classes), requires_grad=False)
        self.background = nn.Parameter(torch.zeros(num_domains, NUM_QUANTILES), requires_grad=False)
        self.volumes = nn.Parameter(torch.zeros(num_domains, num_classes), requires_grad=False)

    @torch.no_grad()
    def describe(self, domain: int, appearance: ClassAppearance) -> None:
        """Put what a site's own classes look like into its row; the means are the best row for a silent network."""
        self.rows[domain] = (appearance.means * 2 - 1).to(self.rows)
        self.spreads[domain] = (appearance.spreads * 2).to(self.spreads)
        self.background[domain] = (appearance.background * 2 - 1).to(self.background)
        self.volumes[domain] = appearance.volumes.to(self.volumes)

    @torch.no_grad()
    def appearance(self, domains: Sequence[int]) -> ClassAppearance:
        """What is known of the classes of some domains, in intensities of [0, 1]."""
        chosen = list(domains)
        return ClassAppearance(
            means=(self.rows[chosen] + 1) / 2,
            spreads=self.spreads[chosen] / 2,
            background=(self.background[chosen] + 1) / 2,
            volumes=self.volumes[chosen].clone(),
        )

    def forward(
        self, condition: Float[Tensor, "batch klass i j k"], domains: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 1 i j k"]:
        """Look up every voxel's class; `condition` is what `label_channels` makes."""
        one_hot = (condition + 1) / 2
        unlabelled = self.background[domains][:, NUM_QUANTILES // 2, None]
        known = torch.cat([self.rows[domains][:, 1:], unlabelled], dim=1)
        tissue: Tensor = torch.einsum("nc,ncijk->nijk", known, one_hot)[:, None]
        return tissue + AIR * (1 - one_hot.sum(dim=1, keepdim=True))


def _recomputed(block: nn.Module, forward: Callable[..., object], *arguments: object, **named: object) -> object:
    if not block.training:
        return forward(*arguments, **named)
    return checkpoint(functools.partial(forward, **named), *arguments, use_reentrant=False)


class Denoiser(nn.Module):
    """Predicts the clean volume, the velocity or the noise, given the label map, the time and the domain.

    The domain is one row of an embedding table that is added to the time embedding (MONAI's class embedding), so one
    averaged network renders every site's look and the look is chosen when sampling.
    """

    def __init__(self, config: DenoiserConfig, num_classes: int) -> None:
        """Build the network; sizes come from `config`, `num_classes` counts the background."""
        from monai.networks.nets import DiffusionModelUNet  # noqa: PLC0415 - seconds, for those who build a network

        super().__init__()
        self.num_classes = num_classes
        self.domain_conditioning = config.domain_conditioning
        self.class_table = ClassTable(config.max_domains, num_classes) if config.class_table else None
        blocks = NUM_POSITIONS if config.stem == 2 else 1
        network = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=(1 + num_classes) * blocks,  # one noisy channel beside those of `label_channels`
            out_channels=blocks,
            num_res_blocks=config.num_res_blocks,
            channels=config.channels,
            attention_levels=config.attention_levels,
            norm_num_groups=config.num_groups,
            num_head_channels=config.num_groups * 2,
            num_class_embeds=config.max_domains if config.domain_conditioning else None,
            use_flash_attention=True,
        )
        self.blocks = (*network.down_blocks, network.middle_block, *network.up_blocks)
        """What `activation_checkpointing` recomputes one by one; a tuple, so that they are not registered twice."""
        self._recomputes = False
        self.network = BlockwiseNetwork(network) if config.stem == 2 else network

    @property
    def activation_checkpointing(self) -> bool:
        """Whether training computes the activations inside a block again instead of keeping them.

        Block by block: one checkpoint around them all would have everything in memory again in the backward pass.
        """
        return self._recomputes

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        for block in self.blocks if wanted != self._recomputes else ():
            if wanted:
                block.forward = functools.partial(_recomputed, block, block.forward)
            else:
                del block.forward  # back to the method of its class
        self._recomputes = wanted

    def forward(
        self,
        noisy: Float[Tensor, "batch 1 i j k"],
        timesteps: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch klass i j k"],
        domains: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch 1 i j k"]:
        """Predict what the recipe asks for.

        Args:
            noisy: x_t; clean images are scaled to [-1, 1].
            timesteps: On the scale 0 to 1000 that the sinusoidal embedding expects.
            condition: `label_channels` of the label map and the body.
            domains: Index of the site to look like.
        """
        looks = domains if self.domain_conditioning else torch.zeros_like(domains)
        inputs = torch.cat([noisy, condition], dim=1)
        named = {"class_labels": looks} if self.domain_conditioning else {}
        output: Tensor = self.network(inputs, timesteps, **named)
        return output if self.class_table is None else output + self.class_table(condition, looks)
