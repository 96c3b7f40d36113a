"""A study, described once: frozen, validated, unknown keys refused.

Configuration is Python; TOML files and Flower's flat run-config only select a preset and override single keys.
Flat keys are kebab-case and dotted (`adapt.num-rounds`); values that are no scalars travel as JSON text.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import AverageRule, Scalar

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SourceShare = Annotated[float, Field(ge=0.5, le=1)]

MIN_TARGETS_OF_ROBUST_RULE = 3
"""Targets without which a robust rule is no other than the mean."""


class _Section(BaseModel):
    """Base of every section: immutable, and a misspelt key is an error instead of a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class GridConfig(_Section):
    """The grid every site resamples to before training."""

    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (4.0, 4.0, 4.0)
    """Millimetres between voxel centres along i, j and k (RAS+)."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (40, 48, 40)
    """Voxels of one training crop; smaller scans are padded with zeros, larger ones are cropped at random."""
    window_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Overlap of neighbouring windows when a scan is larger than one patch."""


class SegmenterConfig(_Section):
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


class DenoiserConfig(_Section):
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


class DiffusionConfig(_Section):
    """Noising, training target and sampler."""

    recipe: Literal["rectified-flow", "ddpm"] = "rectified-flow"
    """`rectified-flow`: L2 loss, Euler steps. `ddpm`: the paper's epsilon-prediction, L1 loss, ancestral steps."""
    prediction_type: Literal["sample", "velocity", "epsilon"] = "sample"
    """What the denoiser predicts: the clean image or the velocity (rectified flow), the noise (DDPM)."""
    num_train_timesteps: PositiveInt = 250
    """Steps of the DDPM noise schedule (cosine); unused by the rectified flow."""
    num_inference_steps: PositiveInt = 8
    """Euler steps of the rectified flow; the DDPM always takes `num_train_timesteps`."""


class FitConfig(_Section):
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


class PseudoLabelConfig(_Section):
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


class PredictionConfig(_Section):
    """How scans are labelled with a finished segmenter."""

    mixture_share: Fraction = 0.5
    """Weight of what the scan's own intensities say (by the mixture of `pseudo-label`); 0 is the network alone."""


class SynthesiseConfig(_Section):
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


class SourceConfig(_Section):
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
    """Looks that every scan is translated to and back, drawn anew each."""
    translation_strength: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the generator's translators: how far a scan goes towards noise before it comes back in the other look."""
    per_target: bool = False
    """One student for every target, with the source as its partner, instead of one for all."""
    intra_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    inter_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    adversarial_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-3
    """0 leaves the critics out: MT-UDA."""


class StyleConfig(_Section):
    """Where appearance alignment takes the other domain's look from."""

    provider: StyleProvider = StyleProvider.NONE
    window: Annotated[float, Field(gt=0, le=1)] = 0.1
    """FDA window L of ASC; ASC+ adapts it to the distance of the histograms."""


class ExchangeConfig(_Section):
    """What this study asks to exchange. A site's own policy may allow less, never more."""

    allow_style_blocks: bool = False
    """Whether a site may publish one mean amplitude block (needed by the style provider `mean-block`)."""
    allow_fingerprints: bool = False
    """Whether sites say what their scans are like in nine numbers (`data.fingerprint`), for a common plan."""
    max_message_bytes: PositiveInt = 2_000_000_000
    """Largest message of a site, and largest order it takes."""
    max_run_bytes: PositiveInt = 200_000_000_000
    """Everything that one site sends in one run."""
    min_cases_for_statistics: PositiveInt = 3
    """Scores, and rows of the class table, over fewer cases than this never leave a site."""


class FederationConfig(_Section):
    """Who has to answer, for how long the server waits, and how the answers become one model."""

    min_targets: PositiveInt = 1
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the asked targets that must reply in a round; the source always must where it is asked."""
    join_timeout_s: PositiveFloat = 600.0
    """Gathering: how long the server waits for sites to appear, before round 1 and for one that is away later on."""
    idle_timeout_s: PositiveFloat = 1800.0
    """Silence: how long a working site may show no progress, and how long it may be out of reach. A site that shows
    progress is not given up before `round_timeout_s`, however long it works."""
    round_timeout_s: PositiveFloat = 24 * 3600.0
    """Hard limit of a round, whatever its sites show; an order and its reply are void after it."""
    rule: AverageRule = AverageRule.MEAN
    """`trimmed-mean` and `median` bound what a single target can do; they need three targets and ignore cases."""
    max_cases: PositiveInt = 10_000
    """A site counts as at most this many cases in an average, whatever it says when it introduces itself."""

    @model_validator(mode="after")
    def _rule_has_enough_targets(self) -> FederationConfig:
        if self.rule is not AverageRule.MEAN and self.min_targets < MIN_TARGETS_OF_ROBUST_RULE:
            msg = (
                f"federation.rule = {self.rule} needs federation.min-targets of at least {MIN_TARGETS_OF_ROBUST_RULE}, "
                f"found {self.min_targets}: of two values the middle one is their mean, and nothing is left to trim"
            )
            raise ValueError(msg)
        return self


class ComputeConfig(_Section):
    """How a site uses its machine."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: bool = True
    """bf16 autocast on a GPU; a CPU always computes in float32."""
    compile: bool = False
    activation_checkpointing: bool = False
    num_threads: NonNegativeInt = 0
    """Threads of one site's computations on a CPU; 0 takes every core."""


class StudyConfig(_Section):
    """One configuration of a method, its sites' grid, budgets and exchange policy."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "study"
    preset: Literal["small", "paper"] = "small"
    method: Literal["source-only", "shipped-and-adapted", "asc", "asc-plus", "diffuse-uda", "le-uda", "plan"] = (
        "diffuse-uda"
    )
    seed: NonNegativeInt = 0
    num_passes: Annotated[int, Field(ge=1, le=4)] = 1
    """Times the pseudo-label, diffuse, synthesise and refine phases run (Diffuse-UDA only)."""
    first_stage: Literal["asc-plus", "le-uda"] = "asc-plus"
    """What gives Diffuse-UDA its first pseudo-labels; after LE-UDA the source's unlabelled scans take part as well."""
    source: SourceConfig = SourceConfig()
    grid: GridConfig = GridConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    style: StyleConfig = StyleConfig()
    warm_up: WarmUpConfig = WarmUpConfig()
    adapt: AdaptConfig = AdaptConfig()
    pseudo_label: PseudoLabelConfig = PseudoLabelConfig()
    prediction: PredictionConfig = PredictionConfig()
    recolour: RecolourConfig = RecolourConfig()
    diffuse: DiffuseConfig = DiffuseConfig()
    synthesise: SynthesiseConfig = SynthesiseConfig()
    refine: RefineConfig = RefineConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    federation: FederationConfig = FederationConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _options_agree(self) -> StudyConfig:
        if self.style.provider is StyleProvider.MEAN_BLOCK and not self.exchange.allow_style_blocks:
            msg = "style.provider = mean-block needs exchange.allow-style-blocks = true: a block is not a weight"
            raise ValueError(msg)
        if self.ensembles:
            self._require_translator()
        if self.method == "plan" and not self.exchange.allow_fingerprints:
            msg = "method = plan needs exchange.allow-fingerprints = true: a plan is made from what scans are like"
            raise ValueError(msg)
        if (self.diffusion.recipe == "ddpm") != (self.diffusion.prediction_type == "epsilon"):
            msg = (
                f"diffusion.recipe = {self.diffusion.recipe} does not go with "
                f"diffusion.prediction-type = {self.diffusion.prediction_type}: epsilon belongs to ddpm"
            )
            raise ValueError(msg)
        if self.denoiser.class_table and self.diffusion.prediction_type != "sample":
            msg = "denoiser.class-table = true needs diffusion.prediction-type = sample: it holds clean intensities"
            raise ValueError(msg)
        levels = {
            "segmenter": self.segmenter.stem * 2 ** (self.segmenter.num_levels - 1),
            "denoiser": self.denoiser.stem * 2 ** (len(self.denoiser.channels) - 1),
        }
        for network, factor in levels.items():
            if min(self.grid.patch_size) < 2 * factor:
                msg = (
                    f"grid.patch-size {self.grid.patch_size}: the {network} needs at least {2 * factor} voxels an axis"
                )
                raise ValueError(msg)
            if any(size % factor for size in self.grid.patch_size):
                msg = f"grid.patch-size {self.grid.patch_size} is not a multiple of {factor}, which the {network} needs"
                raise ValueError(msg)
        return self

    def _require_translator(self) -> None:
        translator = self.ensemble.translator
        if translator is Translator.CLASS_CONTRAST and not self.denoiser.class_table:
            msg = "ensemble.translator = class-contrast needs denoiser.class-table = true: the table is the translator"
            raise ValueError(msg)
        if translator is Translator.FOURIER and not self.exchange.allow_style_blocks:
            msg = "ensemble.translator = fourier needs exchange.allow-style-blocks = true: a block is not a weight"
            raise ValueError(msg)
        if translator in {Translator.DIFFUSION, Translator.ENCODING} and self.diffusion.recipe != "rectified-flow":
            msg = f"ensemble.translator = {translator} needs diffusion.recipe = rectified-flow: no DDPM starts midway"
            raise ValueError(msg)

    @property
    def ensembles(self) -> bool:
        """Whether LE-UDA's phases are part of the study."""
        return self.method == "le-uda" or (self.method == "diffuse-uda" and self.first_stage == "le-uda")

    @property
    def has_critics(self) -> bool:
        """Whether the segmenter travels with critics of its features: LE-UDA's only difference to MT-UDA."""
        return self.ensembles and self.ensemble.adversarial_weight > 0

    def to_flat(self) -> dict[str, Scalar]:
        """Flatten to dotted kebab-case keys with scalar values, as Flower's run-config wants them."""
        flat: dict[str, Scalar] = {}
        _flatten(self.model_dump(mode="json"), "", flat)
        return flat

    @classmethod
    def from_flat(cls, run_config: Mapping[str, Scalar]) -> StudyConfig:
        """Build a study from flat overrides on top of the preset they name.

        Args:
            run_config: Dotted kebab-case keys; `preset` chooses the base, the rest overrides it.

        Raises:
            ConfigError: For an unknown key (the nearest known one is named), a wrong type or value.
        """
        overrides = {key: value for key, value in run_config.items() if key != "preset"}
        base = preset(str(run_config.get("preset", "small"))).to_flat()
        if unknown := sorted(overrides.keys() - base.keys()):
            hints = [f"{key!r} (did you mean {_nearest(key, base)!r}?)" for key in unknown]
            msg = f"unknown configuration keys: {', '.join(hints)}; `diffuse-uda config` lists all"
            raise ConfigError(msg)
        nested: dict[str, Any] = {}
        for key, value in {**base, **overrides}.items():
            node = nested
            *sections, leaf = key.replace("-", "_").split(".")
            for section in sections:
                node = node.setdefault(section, {})
            node[leaf] = _parse(key, value, base[key])
        return validated(nested)

    @classmethod
    def from_toml(cls, path: Path) -> StudyConfig:
        """Read a study file: `preset = "small"` and the keys it overrides.

        Raises:
            ConfigError: If the file is missing, is no TOML, or holds unknown keys or wrong values.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            msg = f"cannot read the study file {path}: {error}"
            raise ConfigError(msg) from error
        flat: dict[str, Scalar] = {}
        _flatten(tables, "", flat)
        return cls.from_flat(flat)


def validated(values: Mapping[str, Any]) -> StudyConfig:
    """Build a study from nested snake_case values; say which key was wrong, what was found and what was wanted."""
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part).replace('_', '-') for part in item['loc']) or 'study'}: "
            f"found {item['input']!r}; {item['msg']}"
            if item["loc"]
            else item["msg"]
            for item in error.errors(include_url=False)
        ]
        msg = "the study cannot be run:\n  " + "\n  ".join(lines)
        raise ConfigError(msg) from None


def preset(name: str) -> StudyConfig:
    """One of the configurations to start from.

    `small` runs whole volumes of 40 x 48 x 40 voxels on two CPU cores; `paper` holds the sizes of arXiv:2408.05985
    (SegResNet of 18.8 M parameters, 128^3 voxels) for one 80 GB GPU a site.

    Raises:
        ConfigError: If there is no such preset.
    """
    if name == "small":
        return StudyConfig()
    if name == "paper":
        return _paper()
    msg = f"unknown preset {name!r}; known: 'small', 'paper'"
    raise ConfigError(msg)


def _paper() -> StudyConfig:
    return StudyConfig(
        preset="paper",
        grid=GridConfig(spacing_mm=(1.0, 1.0, 1.0), patch_size=(128, 128, 128)),
        segmenter=SegmenterConfig(kind="segresnet", channels=(32,)),
        denoiser=DenoiserConfig(stem=2, channels=(64, 128, 192, 256), attention_levels=(False, False, False, True)),
        diffusion=DiffusionConfig(num_inference_steps=30),
        warm_up=WarmUpConfig(num_rounds=10, num_local_steps=500, learning_rate=2e-3),
        adapt=AdaptConfig(
            num_rounds=50,
            num_local_steps=100,
            batch_size=2,
            learning_rate=2e-3,
            source_weight=0.5,
            target_step_fraction=1.0,
        ),
        diffuse=DiffuseConfig(
            num_rounds=100, num_local_steps=500, batch_size=4, learning_rate=1e-4, server_ema_decay=0.8
        ),
        synthesise=SynthesiseConfig(num_samples_per_label_map=4),
        refine=RefineConfig(num_rounds=15, num_local_steps=100, learning_rate=1e-4, target_step_fraction=1.0),
    )


def _flatten(values: Mapping[str, Any], prefix: str, flat: dict[str, Scalar]) -> None:
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', '-')}"
        if isinstance(value, Mapping):
            _flatten(value, f"{name}.", flat)
        else:
            flat[name] = value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def _parse(key: str, value: Scalar, like: Scalar) -> Any:  # noqa: ANN401 - pydantic checks the parsed value
    """Undo `_flatten` for one value; a number given as text is an error, not a guess."""
    if isinstance(like, str) and like.startswith("["):
        try:
            return json.loads(str(value))
        except json.JSONDecodeError as error:
            msg = f"{key}: found {value!r}; wanted a JSON list such as {like}"
            raise ConfigError(msg) from error
    if isinstance(value, str) and not isinstance(like, str):
        msg = f"{key}: found the text {value!r}; wanted a {type(like).__name__} such as {like}"
        raise ConfigError(msg)
    return value


def _nearest(key: str, known: Mapping[str, Scalar]) -> str:
    return (difflib.get_close_matches(key, known, n=1, cutoff=0.0) or ["-"])[0]
