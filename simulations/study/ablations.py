"""Ablations as data: Diffuse-UDA with one pass and one thing changed. A change's row is `<row>--<change>`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from diffuse_uda.config import FitConfig, StudyConfig, StyleProvider
from diffuse_uda.reporting.rows import ABLATION
from diffuse_uda.types import Scalar
from simulations.centralised import SUFFIX
from simulations.study.ladder import Engine, Run

_REFINING_TARGETS: Mapping[str, Scalar] = {"refine.source-weight": 0.7, "refine.target-step-fraction": 0.3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that is different."""

    name: str
    changes: Mapping[str, Scalar]
    from_adapt: bool = False
    """Whether ASC+, which is a part of Diffuse-UDA, changes as well."""
    one_target: bool = False


def ablations(config: StudyConfig) -> tuple[Run, ...]:
    """Every ablation; compared with the first pass of the ladder's Diffuse-UDA."""
    base = "diffuse-uda-pass-1" if config.num_passes > 1 else "diffuse-uda"
    return (*(_run(change, base) for change in _worth_a_run(config)), _pooled(base))


def _changes(config: StudyConfig) -> tuple[Change, ...]:
    return (
        Change(name="plain-warm-up", changes={"warm-up.random-look-share": 0.0}, from_adapt=True),
        Change(name="no-appearance-alignment", changes={"style.provider": StyleProvider.OFF.value}, from_adapt=True),
        Change(name="style-none", changes={"style.provider": StyleProvider.NONE.value}, from_adapt=True),
        Change(name="style-synthetic", changes={"style.provider": StyleProvider.SYNTHETIC.value}, from_adapt=True),
        Change(
            name="style-mean-block",
            changes={"style.provider": StyleProvider.MEAN_BLOCK.value, "exchange.allow-style-blocks": True},
            from_adapt=True,
        ),
        Change(name="no-cut-mix", changes={"adapt.cut-mix": False}, from_adapt=True),
        Change(name="no-deformation", changes={"diffuse.deform": False, "synthesise.deform": False}),
        Change(name="no-domain-embedding", changes={"denoiser.domain-conditioning": False}),
        Change(name="generator-per-target", changes={}, from_adapt=True, one_target=True),
        Change(name="one-segmenter-for-all", changes={"refine.per-target": False}),
        Change(name="no-class-contrast", changes={"refine.class-contrast-share": 0.0}),
        Change(name="no-recolouring", changes={"recolour.num-rounds": 0}),
        Change(name="no-resizing", changes={"refine.resize": False, "synthesise.resize": False}),
        Change(name="targets-refine", changes=_REFINING_TARGETS),
        Change(name="consistency-in-refinement", changes={**_REFINING_TARGETS, "refine.lambda-max": 20.0}),
        Change(name="half-synthetic", changes={"refine.synthetic-fraction": 0.5}),
        Change(name="doubt-as-weight", changes={**_REFINING_TARGETS, "refine.confidence-floor": 0.0}),
        Change(name="evenly-lit", changes={"pseudo-label.shading-sigma-mm": 0.0}),
        Change(name="two-samples-per-mask", changes={"synthesise.num-samples-per-label-map": 2}),
        Change(name="adapt-source-weight-0.5", changes={"adapt.source-weight": 0.5}, from_adapt=True),
        Change(name="adapt-source-weight-0.9", changes={"adapt.source-weight": 0.9}, from_adapt=True),
        Change(name="half-the-local-steps", changes=_with_steps_times(config, 0.5), from_adapt=True),
        Change(name="twice-the-local-steps", changes=_with_steps_times(config, 2.0), from_adapt=True),
        Change(
            name="ddpm",
            changes={
                "diffusion.recipe": "ddpm",
                "diffusion.prediction-type": "epsilon",
                "denoiser.class-table": False,
            },
        ),
        Change(name="no-intensity-mixture", changes={"pseudo-label.num-em-iterations": 0}),
        Change(name="mixture-relabels", changes={"pseudo-label.later-mixture-share": 0.5}),
        Change(name="network-alone", changes={"prediction.mixture-share": 0.0}, from_adapt=True),
    )


def _with_steps_times(config: StudyConfig, factor: float) -> dict[str, Scalar]:
    """Other rounds, other steps a round, the same steps in all (as near as whole numbers allow)."""
    changes: dict[str, Scalar] = {}
    phases: dict[str, FitConfig] = {"adapt": config.adapt, "refine": config.refine}
    for name, fitting in phases.items():
        num_steps = max(1, round(fitting.num_local_steps * factor))
        total = fitting.num_rounds * fitting.num_local_steps
        changes[f"{name}.num-local-steps"] = num_steps
        changes[f"{name}.num-rounds"] = max(1, round(total / num_steps)) if total else 0
    return changes


def _run(change: Change, base: str) -> Run:
    rows = {"diffuse-uda": f"{base}{ABLATION}{change.name}"}
    if change.from_adapt:
        rows["asc-plus"] = f"asc-plus{ABLATION}{change.name}"
    return Run(
        name=f"ablation-{change.name}",
        engine=Engine.FEDERATED,
        rows=rows,
        changes={"method": "diffuse-uda", "num-passes": 1, **change.changes},
        one_target=change.one_target,
    )


def _pooled(base: str) -> Run:
    """The price of federating alone: all scans in one place, with the looks of the federation."""
    rows = {"diffuse-uda": f"{base}{ABLATION}pooled", "asc-plus": f"asc-plus{ABLATION}pooled"}
    return Run(
        name="ablation-pooled",
        engine=Engine.CENTRALISED,
        rows={f"{row}{SUFFIX}": name for row, name in rows.items()},
        changes={"method": "diffuse-uda", "num-passes": 1},
        has_paired_looks=False,
    )


def _worth_a_run(config: StudyConfig) -> Iterator[Change]:
    """Changes that give a configuration of their own: neither the study's nor that of an earlier change."""
    unchanged = config.to_flat()
    seen = [(unchanged, False)]
    for change in _changes(config):
        made = ({**unchanged, **change.changes}, change.one_target)
        if made not in seen:
            seen.append(made)
            yield change
