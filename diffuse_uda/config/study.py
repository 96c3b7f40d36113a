"""A whole study: its sections, what has to agree between them, presets, and the flat form."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from diffuse_uda.config.base import NonNegativeInt, Section
from diffuse_uda.config.federation import ComputeConfig, ExchangeConfig, FederationConfig
from diffuse_uda.config.networks import DenoiserConfig, DiffusionConfig, GridConfig, SegmenterConfig
from diffuse_uda.config.phases import (
    AdaptConfig,
    DiffuseConfig,
    EnsembleConfig,
    PredictionConfig,
    PseudoLabelConfig,
    RecolourConfig,
    RefineConfig,
    SourceConfig,
    StyleConfig,
    StyleProvider,
    SynthesiseConfig,
    Translator,
    WarmUpConfig,
)
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Scalar


class StudyConfig(Section):
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
        if self.ensemble.has_generated_looks and self.diffusion.recipe != "rectified-flow":
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
