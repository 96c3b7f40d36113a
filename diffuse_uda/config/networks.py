"""The grid that scans are brought to, the two networks, and the process of the generator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffuse_uda.config.base import PositiveFloat, PositiveInt, Section


class GridConfig(Section):
    """The grid every site resamples to before training."""

    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (4.0, 4.0, 4.0)
    """Millimetres between voxel centres along i, j and k (RAS+)."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (40, 48, 40)
    """Voxels of one training crop; smaller scans are padded with zeros, larger ones are cropped at random."""
    window_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Overlap of neighbouring windows when a scan is larger than one patch."""


class SegmenterConfig(Section):
    """The network that labels voxels."""

    kind: Literal["residual-unet", "segresnet"] = "residual-unet"
    """`segresnet` is the paper's; the residual U-Net reaches the same Dice in a fraction of a CPU's time."""
    stem: Literal[1, 2] = 1
    """2 works on 2x2x2 space-to-depth blocks."""
    channels: tuple[PositiveInt, ...] = (12, 24, 48, 96)
    """Channels of every level of the residual U-Net; the first one is SegResNet's `init_filters`."""
    num_res_units: PositiveInt = 1
    """Residual U-Net only: convolutions in a residual block."""
    blocks_down: tuple[PositiveInt, ...] = (1, 2, 2, 4)
    """SegResNet only: residual blocks a level on the way down."""
    blocks_up: tuple[PositiveInt, ...] = (1, 1, 1)
    """SegResNet only: residual blocks a level on the way up."""
    num_groups: PositiveInt = 8
    """SegResNet only: groups of GroupNorm (no running statistics, so nothing about intensities is averaged)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def num_levels(self) -> int:
        """Resolutions the network works at."""
        return len(self.blocks_down) if self.kind == "segresnet" else len(self.channels)


class DenoiserConfig(Section):
    """The diffusion network, conditioned on the label map and on the domain."""

    stem: Literal[1, 2] = 2
    channels: tuple[PositiveInt, ...] = (16, 32, 64)
    num_res_blocks: PositiveInt = 1
    attention_levels: tuple[bool, ...] = (False, False, False)
    num_groups: PositiveInt = 8
    domain_conditioning: bool = True
    """False leaves the centre's embedding out (an ablation: one look for everybody)."""
    class_table: bool = True
    """Start every prediction of the clean image from one learned intensity a domain and class."""
    max_domains: PositiveInt = 8
    """Rows of the domain table: one for every site that may ever join."""

    @model_validator(mode="after")
    def _levels_agree(self) -> DenoiserConfig:
        if any(channels % self.num_groups for channels in self.channels):
            msg = f"channels {self.channels} must be multiples of num-groups {self.num_groups}"
            raise ValueError(msg)
        if len(self.attention_levels) != len(self.channels):
            msg = f"attention-levels has {len(self.attention_levels)} entries, channels has {len(self.channels)}"
            raise ValueError(msg)
        return self


class DiffusionConfig(Section):
    """Noising, training target and sampler."""

    recipe: Literal["rectified-flow", "ddpm"] = "rectified-flow"
    """`rectified-flow`: L2 loss, Euler steps. `ddpm`: the paper's epsilon-prediction, L1 loss, ancestral steps."""
    prediction_type: Literal["sample", "velocity", "epsilon"] = "sample"
    """What the denoiser predicts: the clean image or the velocity (rectified flow), the noise (DDPM)."""
    num_train_timesteps: PositiveInt = 250
    """Steps of the DDPM noise schedule (cosine); unused by the rectified flow."""
    num_inference_steps: PositiveInt = 8
    """Euler steps of the rectified flow; the DDPM always takes `num_train_timesteps`."""
