"""What is compared at one budget of source labels, and what LE-UDA is taken apart into."""

from __future__ import annotations

from collections.abc import Mapping

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods.diffuse_uda import RECOLOURED, recolours
from diffuse_uda.reporting.rows import ABLATION
from diffuse_uda.types import Scalar
from simulations.study.ladder import Engine, Run, diffuse_uda_rows, ladder

HEADLINE = "le-uda"
COMBINED = "le-uda-diffuse-uda"
_ALONE = {"source-only", "source-only-random-conv", "shipped-and-adapted", "diffuse-uda", "target-supervised"}
"""Runs of the ladder that have nothing to learn from scans without labels at the source."""

_PARTS: Mapping[str, Mapping[str, Scalar]] = {
    "no-intra": {"ensemble.intra-weight": 0.0},
    "no-inter": {"ensemble.inter-weight": 0.0},
    "no-adversarial": {"ensemble.adversarial-weight": 0.0},
    "targets-rest": {"ensemble.source-weight": 1.0},
    "one-direction": {"ensemble.both-directions": False},
    "one-student-for-all": {"ensemble.per-target": False},
    "no-teachers": {"ensemble.intra-weight": 0.0, "ensemble.inter-weight": 0.0, "ensemble.adversarial-weight": 0.0},
    "stronger-adversarial": {"ensemble.adversarial-weight": 1e-2},
    "translator-diffusion": {"ensemble.translator": "diffusion"},
    "translator-encoding": {"ensemble.translator": "encoding"},
    "translator-fourier": {"ensemble.translator": "fourier", "exchange.allow-style-blocks": True},
    "no-translator": {"ensemble.translator": "none"},
}


def budget_ladder(config: StudyConfig) -> tuple[Run, ...]:
    """Every method at one budget (`source.num-labelled`); one that ignores unlabelled scans has the labelled ones.

    MT-UDA is LE-UDA without critics. LE-UDA is scored on the way of the combined method.
    """
    alone = tuple(run for run in ladder(config) if run.name in _ALONE)
    combined = {HEADLINE: HEADLINE, **{row: f"{HEADLINE}-{row}" for row in _generated_rows(config)}}
    return (
        *alone,
        Run(
            name="mt-uda",
            engine=Engine.FEDERATED,
            rows={HEADLINE: "mt-uda"},
            changes={"method": HEADLINE, "ensemble.adversarial-weight": 0.0},
        ),
        Run(
            name=COMBINED,
            engine=Engine.FEDERATED,
            rows=combined,
            changes={"method": "diffuse-uda", "first-stage": HEADLINE},
        ),
    )


def le_uda_ablations(config: StudyConfig) -> tuple[Run, ...]:
    """LE-UDA with one part taken out or exchanged; a change that is the study's own configuration is left out."""
    unchanged = config.to_flat()
    return tuple(
        Run(
            name=f"ablation-{name}",
            engine=Engine.FEDERATED,
            rows={HEADLINE: f"{HEADLINE}{ABLATION}{name}"},
            changes={"method": HEADLINE, **changes},
        )
        for name, changes in _PARTS.items()
        if {**unchanged, **changes} != unchanged
    )


def _generated_rows(config: StudyConfig) -> list[str]:
    rows = [row for row in diffuse_uda_rows(config) if row not in {"asc-plus", RECOLOURED}]
    return [*([RECOLOURED] if recolours(config) else []), *rows]
