"""A study, described once: frozen, validated, unknown keys refused.

Configuration is Python; TOML files and Flower's flat run-config only select a preset and override single keys.
Flat keys are kebab-case and dotted (`adapt.num-rounds`); values that are no scalars travel as JSON text.
"""

from diffuse_uda.config.federation import MIN_TARGETS_OF_ROBUST_RULE, ComputeConfig, ExchangeConfig, FederationConfig
from diffuse_uda.config.networks import DenoiserConfig, DiffusionConfig, GridConfig, SegmenterConfig
from diffuse_uda.config.phases import (
    AdaptConfig,
    DiffuseConfig,
    EnsembleConfig,
    FitConfig,
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
from diffuse_uda.config.study import StudyConfig, preset, validated

__all__ = [
    "MIN_TARGETS_OF_ROBUST_RULE",
    "AdaptConfig",
    "ComputeConfig",
    "DenoiserConfig",
    "DiffuseConfig",
    "DiffusionConfig",
    "EnsembleConfig",
    "ExchangeConfig",
    "FederationConfig",
    "FitConfig",
    "GridConfig",
    "PredictionConfig",
    "PseudoLabelConfig",
    "RecolourConfig",
    "RefineConfig",
    "SegmenterConfig",
    "SourceConfig",
    "StudyConfig",
    "StyleConfig",
    "StyleProvider",
    "SynthesiseConfig",
    "Translator",
    "WarmUpConfig",
    "preset",
    "validated",
]
