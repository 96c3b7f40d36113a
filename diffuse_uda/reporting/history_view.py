"""The per-round history as a report reads it: losses over rounds, bytes by phase and direction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffuse_uda.errors import Finding, InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRecord:
    """What one site did in one round."""

    state: str = ""
    num_examples: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Finite scalars the site reported."""
    to_site_bytes: int = 0
    to_server_bytes: int = 0
    seconds: float = 0.0
    reason: str = ""
    """Why a reply was not used, sealed."""
    share: float = 0.0
    """Weight in the average."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """One round of one phase."""

    phase: str
    """Label of the phase (`Phase.label`)."""
    server_round: int
    num_tensors: int = 0
    """Tensors of the model that went out."""
    seconds: float = 0.0
    sites: Mapping[str, SiteRecord] = field(default_factory=dict)
    num_rounds: int = 0
    """Rounds of the phase; 0 where the record doesn't say."""


def parse_record(record: Mapping[str, Any]) -> RoundRecord:
    """Read one record; what a report can do without may be missing.

    Bytes are counted from the server's chair: `bytes_sent` went to the site, `bytes_received` came from it.

    Raises:
        KeyError: If `phase` or `server_round` is missing.
        TypeError: If a value has another type than the record's.
        ValueError: If a text stands where a number belongs.
    """
    sites = record.get("sites") or {}
    return RoundRecord(
        phase=str(record["phase"]),
        server_round=int(record["server_round"]),
        num_tensors=int(record.get("num_tensors") or 0),
        seconds=float(record.get("seconds") or 0.0),
        sites={str(site_id): _parse_site(entry) for site_id, entry in sites.items()},
        num_rounds=int(record.get("num_rounds") or 0),
    )


def _parse_site(entry: Mapping[str, Any]) -> SiteRecord:
    metrics = {str(name): float(value) for name, value in (entry.get("metrics") or {}).items() if value is not None}
    return SiteRecord(
        state=str(entry.get("state") or ""),
        num_examples=int(entry.get("num_examples") or 0),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        to_site_bytes=int(entry.get("bytes_sent") or 0),
        to_server_bytes=int(entry.get("bytes_received") or 0),
        seconds=float(entry.get("seconds") or 0.0),
        reason=str(entry.get("reason") or ""),
        share=float(entry.get("share") or 0.0),
        warnings=tuple(map(str, entry.get("warnings") or ())),
    )


def read_history(path: Path) -> list[RoundRecord]:
    """Read a history of JSON lines, oldest round first.

    Half a line is what a run leaves that was stopped while writing: it is passed over. A round that was run again after
    a restart counts once, in its last version. A run that has not finished a round has no history, hence no file.

    Raises:
        InputError: If the file cannot be read or a line is JSON but no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(path, "all", type(error).__name__) from error
    records: dict[tuple[str, int], RoundRecord] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        try:
            record = parse_record(entry)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _refusal(path, str(number), f"{type(error).__name__}: {error}") from error
        records[record.phase, record.server_round] = record
    return list(records.values())


def _refusal(path: Path, line: str, found: str) -> InputError:
    return InputError(
        [
            Finding(
                rule="history-file",
                centre="-",
                file=f"{path.name}, line {line}",
                found=found,
                wanted="one JSON object a line with phase and server_round",
                fix="take the history of a run of this version, or remove the damaged line",
            )
        ]
    )


def exchange_by_phase(history: Sequence[RoundRecord]) -> dict[str, Any]:
    """Count what travelled.

    Returns:
        `phases.<label>.{rounds, tensors, to_sites_bytes, to_server_bytes}` in the order in which phases ran, and
        `total.{to_sites_bytes, to_server_bytes}`. `tensors` is the number of tensors of the model that went out.
    """
    phases: dict[str, dict[str, int]] = {}
    for record in history:
        count = phases.setdefault(record.phase, {"rounds": 0, "tensors": 0, "to_sites_bytes": 0, "to_server_bytes": 0})
        count["rounds"] += 1
        count["tensors"] = max(count["tensors"], record.num_tensors)
        for site in record.sites.values():
            count["to_sites_bytes"] += site.to_site_bytes
            count["to_server_bytes"] += site.to_server_bytes
    total = {key: sum(count[key] for count in phases.values()) for key in ("to_sites_bytes", "to_server_bytes")}
    return {"phases": phases, "total": total}


def seconds_by_phase(history: Sequence[RoundRecord]) -> dict[str, float]:
    """Add up the wall time of every phase, in the order in which phases ran; seconds, to the millisecond."""
    seconds: dict[str, list[float]] = {}
    for record in history:
        seconds.setdefault(record.phase, []).append(record.seconds)
    return {phase: round(math.fsum(values), 3) for phase, values in seconds.items()}


Curve = list[tuple[int, float]]
"""Round and loss."""


def loss_curves(history: Sequence[RoundRecord], *, metric: str = "loss") -> dict[str, dict[str, Curve]]:
    """Collect one scalar over the rounds.

    Returns:
        Curves by phase label, then by site; phases and sites that never reported the scalar are left out.
    """
    curves: dict[str, dict[str, Curve]] = {}
    for record in history:
        for site_id, site in record.sites.items():
            if metric in site.metrics:
                point = (record.server_round, site.metrics[metric])
                curves.setdefault(record.phase, {}).setdefault(site_id, []).append(point)
    return {
        phase: {site_id: sorted(by_site[site_id]) for site_id in sorted(by_site)} for phase, by_site in curves.items()
    }
