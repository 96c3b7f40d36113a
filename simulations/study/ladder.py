"""The ladder as data: which run gives which rows, by configuration alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods.diffuse_uda import RECOLOURED, recolours
from diffuse_uda.types import Scalar
from simulations.references import supervised_steps

RANDOM_LOOK_SHARE = 0.8
"""Of the row `source-only-random-conv`, where the study's own warm-up is plain: as many as in the adaptation."""

_FLOOR: Mapping[str, Scalar] = {"method": "source-only", "warm-up.random-look-share": 0.0}


class Engine(StrEnum):
    """How a run is carried out."""

    FEDERATED = "federated"
    """Server and sites, as in hospitals."""
    CENTRALISED = "centralised"
    """All scans in one place: a reference only."""
    TARGET_SUPERVISED = "target-supervised"
    """A target with labels of its own: a reference only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One configuration of one engine, and the rows of the study that come from it."""

    name: str
    engine: Engine
    rows: Mapping[str, str]
    """Row that the run writes, and its name in the study; rows that are not listed are not the study's."""
    changes: Mapping[str, Scalar]
    """Flat keys on top of the study's configuration."""
    one_target: bool = False
    """Whether every target has a run of its own (with the source); their rows are put together again."""
    has_paired_looks: bool = True
    """Of a centralised run: whether looks are those of real scans of the other side, as published."""
    scores_rounds: bool = False
    """Whether kept rounds are scored afterwards, to know what choosing by the test labels would have brought."""


def ladder(config: StudyConfig) -> tuple[Run, ...]:
    """Every row from the floor to the ceiling.

    Rows of one method come from one run: Diffuse-UDA is scored after its ASC+ part and after every pass.
    """
    rows = diffuse_uda_rows(config)
    return (
        _federated("source-only", _FLOOR),
        _federated("source-only-random-conv", step_matched_source_only(config)),
        _federated("shipped-and-adapted", {"method": "shipped-and-adapted"}),
        _federated("asc", {"method": "asc"}),
        Run(
            name="diffuse-uda",
            engine=Engine.FEDERATED,
            rows={row: row for row in rows},
            changes={"method": "diffuse-uda"},
            scores_rounds=True,
        ),
        _centralised("asc-centralised", "asc", ["asc"]),
        _centralised("diffuse-uda-centralised", "diffuse-uda", rows),
        Run(
            name="target-supervised",
            engine=Engine.TARGET_SUPERVISED,
            rows={"target-supervised": "target-supervised"},
            changes={},
            one_target=True,
        ),
    )


def diffuse_uda_rows(config: StudyConfig) -> list[str]:
    """Rows of a run of Diffuse-UDA that belong to nobody else."""
    passes = [f"diffuse-uda-pass-{index}" for index in range(1, config.num_passes)]
    recoloured = [RECOLOURED] if recolours(config) else []
    return ["asc-plus", *recoloured, *passes, "diffuse-uda"]


def step_matched_source_only(config: StudyConfig) -> dict[str, Scalar]:
    """Source-only with random looks and as many steps as the source takes in the whole of Diffuse-UDA.

    Otherwise a method that trains longer would be praised for its time.
    """
    warm_up, adapt = config.warm_up, config.adapt
    num_steps = supervised_steps(config) + adapt.num_rounds * adapt.num_local_steps
    return {
        "method": "source-only",
        "warm-up.random-look-share": warm_up.random_look_share or RANDOM_LOOK_SHARE,
        "warm-up.num-rounds": math.ceil(num_steps / warm_up.num_local_steps),
    }


def _federated(row: str, changes: Mapping[str, Scalar]) -> Run:
    return Run(name=row, engine=Engine.FEDERATED, rows={row: row}, changes=changes)


def _centralised(name: str, method: str, rows: Sequence[str]) -> Run:
    names = [f"{row}-centralised" for row in rows]
    return Run(name=name, engine=Engine.CENTRALISED, rows={row: row for row in names}, changes={"method": method})
