"""What a result depends on, as short texts: equal fingerprints, equal results."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Method, Phase, PhaseName
from diffuse_uda.types import SiteRole

CHECKOUT = Path(__file__).parents[2]

_ADAPTED = frozenset({PhaseName.ADAPT, PhaseName.ADAPT_LOCALLY})

READ_BY: Mapping[str, frozenset[PhaseName]] = {
    "style": _ADAPTED | {PhaseName.TRANSLATE},
    "adapt": _ADAPTED | {PhaseName.ENSEMBLE},
    "exchange": _ADAPTED | {PhaseName.DESCRIBE, PhaseName.DIFFUSE, PhaseName.TRANSLATE, PhaseName.EVALUATE},
    "pseudo_label": _ADAPTED | {PhaseName.PSEUDO_LABEL, PhaseName.EVALUATE},
    "prediction": frozenset({PhaseName.EVALUATE}),
    "recolour": frozenset({PhaseName.RECOLOUR}),
    "denoiser": frozenset({PhaseName.DESCRIBE, PhaseName.DIFFUSE, PhaseName.SYNTHESISE, PhaseName.TRANSLATE}),
    "diffusion": frozenset({PhaseName.DIFFUSE, PhaseName.SYNTHESISE, PhaseName.TRANSLATE}),
    "diffuse": frozenset({PhaseName.DESCRIBE, PhaseName.DIFFUSE}),
    "synthesise": frozenset({PhaseName.SYNTHESISE}),
    "ensemble": frozenset({PhaseName.TRANSLATE, PhaseName.ENSEMBLE}),
    "refine": frozenset({PhaseName.RECOLOUR, PhaseName.REFINE, PhaseName.ADAPT_LOCALLY, PhaseName.ENSEMBLE}),
}
"""Phases before which a section of the configuration is not read. A section that is not listed matters from the start.

`pseudo_label` is read during adaptation already: it says how many global models a target remembers. And it is read
where scans are labelled to be scored, for its mixture has a share in that (`prediction`).
"""

IN_PHASES = frozenset({"name", "preset", "method", "num_passes", "first_stage"})
"""What is visible in the list of phases, or does not matter."""

_DIGITS = 16


def digest(content: object) -> str:
    """A short name for a JSON value."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def stage_keys(config: StudyConfig, circumstances: str, *, num_targets: int) -> dict[str, str]:
    """Name what is there after every phase of a federated run.

    Two runs that agree in everything that matters up to a phase agree in the name, whatever comes later.

    Args:
        config: Of the run.
        circumstances: Fingerprint of data, sites and code.
        num_targets: Targets that take part.

    Returns:
        Keys by the label of the phase, in order; phases of no rounds are left out.
    """
    method = build_method(config, num_targets=num_targets)
    done: list[Phase] = []
    keys = {}
    for phase in method.phases:
        if phase.num_rounds == 0:
            continue
        done.append(phase)
        keys[phase.label] = digest([circumstances, _matters(config, method, done), [_spelt(past) for past in done]])
    return keys


def config_without(config: StudyConfig, sections: Sequence[str]) -> dict[str, Any]:
    """A configuration without its name and without sections that a run never reads."""
    left_out = {"name", "preset", *sections}
    return {key: value for key, value in config.model_dump(mode="json").items() if key not in left_out}


def _matters(config: StudyConfig, method: Method, done: Sequence[Phase]) -> dict[str, Any]:
    names = {phase.name for phase in done}
    values = config.model_dump(mode="json")
    kept = {
        key: value
        for key, value in values.items()
        if key not in IN_PHASES and (key not in READ_BY or not names.isdisjoint(READ_BY[key]))
    }
    variant = str(method.adapt) if names - {PhaseName.WARM_UP, PhaseName.EVALUATE} else ""
    # critics are part of the first model already, long before anything learns from them
    return {**kept, "variant": variant, "has_critics": config.has_critics}


def _spelt(phase: Phase) -> dict[str, Any]:
    tasks = {role.value: task.value for role, task in phase.tasks.items()}
    return {"label": phase.label, "tasks": tasks, "exchange": phase.exchange.value, "num_rounds": phase.num_rounds}


def data_digest(folders: Sequence[Path], roles: Sequence[SiteRole]) -> str:
    """Names and contents of every file of every centre: a copy of a cohort is that cohort."""
    listing = [
        [
            folder.name,
            role.value,
            [
                [path.relative_to(folder).as_posix(), _file_digest(path, path.stat().st_size, path.stat().st_mtime_ns)]
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            ],
        ]
        for folder, role in zip(folders, roles, strict=True)
    ]
    return digest(listing)


@cache
def _file_digest(path: Path, _size: int, _mtime_ns: int) -> str:
    """A study asks for every job; size and time say whether a file has to be read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_digest(root: Path, *places: str) -> str:
    """What Python files say, without comments, docstrings and layout: those never change a number.

    Args:
        root: The checkout, or a copy of it.
        places: Files and packages in it; reports are left out, they come after the numbers.
    """
    files = [
        path
        for place in places
        for path in ([root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py")))
        if "reporting" not in path.relative_to(root).parts
    ]
    return digest(
        [torch.__version__, [[str(path.relative_to(root)), meaning(path.read_text("utf-8"))] for path in files]]
    )


def meaning(source: str) -> str:
    """A module's syntax tree without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a text on its own: a docstring, or one below an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
