"""The plan that a run's fingerprints lead to, for people: a study file, and every number that it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.training.planning import derive_plan
from diffuse_uda.types import Scalar

PLAN_FILE = "plan.toml"
NUMBERS_FILE = "plan-numbers.json"
METHOD = "diffuse-uda"
"""Of the study that a run for a plan alone leads to."""


def write_plan(run_dir: Path, config: StudyConfig, sites: Sequence[SiteCard]) -> StudyConfig | None:
    """Derive the plan and write it down; nothing without a fingerprint.

    `plan.toml` is a study file as it stands: the study's own keys, the plan's, and no more fingerprints.

    Args:
        run_dir: Existing folder of the run.
        config: The study that asked for fingerprints.
        sites: Cards of all sites, the source first.

    Returns:
        The planned study.

    Raises:
        MemoryEstimateError: If no plan fits the smallest site.
    """
    fingerprints = {card.site_id: card.fingerprint for card in sites if card.fingerprint is not None}
    if not fingerprints:
        return None
    plan = derive_plan(config, fingerprints, len(sites[0].label_names))
    method = METHOD if config.method == "plan" else config.method
    own: dict[str, Scalar] = {"exchange.allow-fingerprints": False, "method": method}
    study = StudyConfig.from_flat({**config.to_flat(), **plan.changes, **own})
    base = StudyConfig.from_flat({"preset": config.preset}).to_flat()
    keys = {key: value for key, value in study.to_flat().items() if value != base[key] and key != "preset"}
    lines = [
        *(f"# {reason}" for reason in plan.reasons),
        f"# hash {plan_hash(study)}",
        f"preset = {json.dumps(config.preset)}",
        *(f"{key} = {_toml(value)}" for key, value in sorted(keys.items())),
    ]
    numbers = {
        "sites": {site_id: one.numbers() for site_id, one in fingerprints.items()},
        "silent": [card.site_id for card in sites if card.fingerprint is None],
        "plan": dict(plan.changes),
        "reasons": list(plan.reasons),
        "hash": plan_hash(study),
    }
    _write(run_dir / PLAN_FILE, "\n".join(lines))
    _write(run_dir / NUMBERS_FILE, json.dumps(numbers, indent=1))
    return study


def _toml(value: Scalar) -> str:
    """Numbers, truth values and texts look the same in JSON and TOML."""
    return json.dumps(value)


def _write(path: Path, text: str) -> None:
    with replaced_atomically(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
