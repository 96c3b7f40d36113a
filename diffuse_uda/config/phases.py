"""What a method does, phase by phase: how long, with how much of what."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from diffuse_uda.config.base import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Section, SourceShare


class StyleProvider(StrEnum):
    """Where the other domain's look comes from during adaptation."""

    OFF = "off"
    """No other look at all (an ablation): adaptation sees every scan as it is."""
    NONE = "none"
    """Random convolution and random amplitudes: needs nothing from anybody."""
    SYNTHETIC = "synthetic"
    """Amplitudes mined at the site from images it rendered itself with the received generator."""
    MEAN_BLOCK = "mean-block"
    """Every site publishes one mean amplitude block; has to be allowed by the exchange policy."""


class Translator(StrEnum):
    """What shows a real scan in the other domain's look, and back."""

    DIFFUSION = "diffusion"
    """Noise it part of the way and denoise it as the other domain, given its label map (SDEdit, arXiv:2108.01073)."""
    ENCODING = "encoding"
    """Follow its own domain's flow to noise and the other's back, without drawing any (DDIB, arXiv:2203.08382)."""
    CLASS_CONTRAST = "class-contrast"
    """The contrast that the class table holds of the other domain; no generator is trained for it."""
    FOURIER = "fourier"
    """Amplitudes of the other domain's published mean block."""
    NONE = "none"
    """Every scan stays as it is (an ablation)."""


class FitConfig(Section):
    """How long and how one model is fitted at a site, round after round. Defaults suit two CPU cores."""

    num_rounds: NonNegativeInt = 3
    num_local_steps: PositiveInt = 100
    """Optimiser steps of one site in one round."""
    target_step_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of these steps a target takes: consistency alone can collapse, so few of them a round."""
    batch_size: PositiveInt = 2
    learning_rate: PositiveFloat = 3e-3
    source_weight: SourceShare = 0.5
    """Share of the source in the average, fixed: consistency alone can collapse. Targets share the rest by cases."""


class WarmUpConfig(FitConfig):
    """Supervised training at the source, as any single hospital could do it."""

    random_look_share: Fraction = 0.0
    """Share of the samples shown in a random contrast (curves, structure-wise means, random convolution); 0 is plain.

    With 0 the first evaluation is the row `source-only`, else `source-only-random-conv`.
    """


class AdaptConfig(FitConfig):
    """Federated ASC / ASC+ rounds (arXiv:2310.14172, 2408.05985)."""

    num_rounds: NonNegativeInt = 8
    num_local_steps: PositiveInt = 50
    batch_size: PositiveInt = 1
    source_weight: SourceShare = 0.7
    target_step_fraction: Annotated[float, Field(gt=0, le=1)] = 0.4
    lambda_max: PositiveFloat = 200.0
    """Weight of the consistency term at the end of the ramp."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    teacher_round_decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much of last round's teacher a target keeps when new global weights arrive."""
    cut_mix: bool = True
    """False switches the structure consistency off (an ablation)."""


class RecolourConfig(FitConfig):
    """Supervised rounds at the source on its scans in a target's class contrast, before any generator is trained."""

    num_rounds: NonNegativeInt = 2
    """0 leaves them out (an ablation); so does a denoiser without a class table."""
    num_local_steps: PositiveInt = 75
    num_turns: PositiveInt = 1
    """Times the rounds are run, each with labels and a class table estimated anew."""


class DiffuseConfig(FitConfig):
    """Federated rounds on the denoiser."""

    num_rounds: NonNegativeInt = 4
    num_local_steps: PositiveInt = 20
    learning_rate: PositiveFloat = 1e-3

    confidence_floor: Fraction = 0.2
    """Weight of the least certain voxel in the diffusion loss; 1 ignores the uncertainty."""
    deform: bool = True
    server_ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the old average that the server's running mean over rounds keeps; the mean is what renders."""


class PseudoLabelConfig(Section):
    """How a target labels its own scans."""

    num_ensembled_rounds: PositiveInt = 3
    """Last global models whose softmax is averaged."""
    num_em_iterations: NonNegativeInt = 12
    """Iterations of the intensity mixture that sharpens the labels; 0 takes the network's word, as the paper does."""
    mixture_share: Fraction = 1.0
    """Weight of the mixture's probabilities when scans are labelled first; the rest is the network's."""
    later_mixture_share: Fraction = 0.0
    """The same whenever scans are labelled again: what they say feeds the class table, and mixture and table would feed
    on each other."""
    shading_sigma_mm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 16.0
    """Width of the Gaussian that smooths each scan's shading in the mixture; 0 takes all scans as evenly lit."""
    min_component_fraction: Fraction = 0.2
    """Components smaller than this share of a class's largest one are dropped; 1 keeps only the largest."""


class PredictionConfig(Section):
    """How scans are labelled with a finished segmenter."""

    mixture_share: Fraction = 0.5
    """Weight of what the scan's own intensities say (by the mixture of `pseudo-label`); 0 is the network alone."""


class SynthesiseConfig(Section):
    """How many pairs the generator renders."""

    num_samples_per_label_map: PositiveInt = 1
    """Renderings of every label map in every target's style (at the source), or in its own (at a target)."""
    batch_size: PositiveInt = 4
    deform: bool = True
    resize: bool = True
    """Give structures of the source other sizes before rendering, towards those at the target (needs `deform`)."""


class RefineConfig(FitConfig):
    """Federated retraining on real and synthetic pairs."""

    num_rounds: NonNegativeInt = 5
    num_local_steps: PositiveInt = 25
    target_step_fraction: Annotated[float, Field(gt=0, le=1)] = 0.6

    lambda_max: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20.0
    """Weight of the targets' consistency: small, the stage is nearly supervised. 0 saves its steps' better half."""
    synthetic_fraction: Fraction = 0.5
    """Share of synthetic pairs in the supervised batches; the rest are real scans with labels or pseudo-labels."""
    per_target: bool = True
    """One segmenter for every target, as in the papers, which have one; False trains one for all (an ablation)."""
    class_contrast_share: Fraction = 0.8
    """Share of the source's real scans shown in a target's class contrast (the class table's); the rest look random.

    Holds for `recolour` as well, and so does `resize`.
    """
    resize: bool = True
    """Give structures of the source other sizes, towards those at the target."""
    confidence_floor: Fraction = 1.0
    """Weight of the least certain voxel of a pseudo-label in the supervised loss; 1 ignores the uncertainty."""


class SourceConfig(Section):
    """How much of the source's labels a run may use: the budget of a study of label efficiency."""

    num_labelled: NonNegativeInt = 0
    """Labelled training scans that keep their label map, 0 for all; the others take part without."""
    label_draw: NonNegativeInt = 0
    """Which ones: the first of an order that this number draws, so that a smaller budget is part of a larger one."""


class EnsembleConfig(FitConfig):
    """Federated rounds of self-ensembling between two looks of every scan (MT-UDA, LE-UDA)."""

    num_rounds: NonNegativeInt = 6
    num_local_steps: PositiveInt = 50
    target_step_fraction: Annotated[float, Field(gt=0, le=1)] = 0.6
    source_weight: SourceShare = 0.7
    num_turns: PositiveInt = 2
    """Times scans are labelled and translated anew, each followed by the rounds."""
    translator: Translator = Translator.CLASS_CONTRAST
    num_translations: PositiveInt = 2
    """Of the generator's translators: looks that every scan is translated to and back, drawn anew each."""
    translation_strength: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the generator's translators: how far a scan goes towards noise before it comes back in the other look."""
    per_target: bool = True
    """One student for every target, with the source as its partner, instead of one for all."""
    both_directions: bool = True
    """Teach the student in the target-like looks as well, by its teacher in the source-like ones.

    As published it learns in source-like looks only, because scans are translated before it labels them; here it labels
    them as they are.
    """
    intra_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    inter_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    adversarial_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-3
    """0 leaves the critics out: MT-UDA."""

    @property
    def has_generated_looks(self) -> bool:
        """Whether the generator makes looks: at some cost, so they are made once and kept."""
        return self.translator in {Translator.DIFFUSION, Translator.ENCODING}


class StyleConfig(Section):
    """Where appearance alignment takes the other domain's look from."""

    provider: StyleProvider = StyleProvider.NONE
    window: Annotated[float, Field(gt=0, le=1)] = 0.1
    """FDA window L of ASC; ASC+ adapts it to the distance of the histograms."""
