"""What the folder of a run tells about its model, without the names of the sites.

Read are `federation.json`, `history.jsonl` and `evaluation.json`, as the server documents them; none has to be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffuse_uda.errors import ConfigError
from diffuse_uda.reporting.history_view import RoundRecord, read_history
from diffuse_uda.training.checkpoints import MANIFEST
from diffuse_uda.types import SiteRole

FEDERATION_FILE, HISTORY_FILE, EVALUATION_FILE = "federation.json", "history.jsonl", "evaluation.json"
SEGMENTER, SEGMENTERS = "segmenter", "segmenters"
TOLD_SCORES = ("dice", "hd95-mm", "assd-mm", "nsd")


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFacts:
    """One site under its pseudonym."""

    pseudonym: str
    """`source`, `target-1`, ... in the order of the run."""
    role: SiteRole
    num_cases: int
    num_test_cases: int
    confidence: float | None = None
    """Mean probability of the site's last pseudo-labels inside the body: quality without any label. In [0, 1]."""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Row of the method, then means over the site's labelled held-out scans; empty where it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What is known of the run that made a model."""

    sites: tuple[SiteFacts, ...] = ()
    rounds: Mapping[str, int] = field(default_factory=dict)
    """Rounds that were run, by phase, in their order."""
    made_for: str = ""
    """Pseudonym of the only site a model is for; empty for one that is for all."""


def find_segmenter(path: Path, site: str | None) -> tuple[Path, Path | None]:
    """Find the segmenter and the run it comes from.

    Args:
        path: Folder of a run, or of a segmenter.
        site: Whose segmenter of a run; None for the one that all sites share.

    Returns:
        Folder of the segmenter; folder of its run, if that is there.

    Raises:
        ConfigError: If there is no such segmenter.
    """
    if (path / MANIFEST).exists() and site is None:
        above = (path.parent, path.parent.parent)
        return path, next((run for run in above if (run / FEDERATION_FILE).exists()), None)
    folder = path / SEGMENTER if site is None else path / SEGMENTERS / site
    if (folder / MANIFEST).exists():
        return folder, path
    own = sorted(one.name for one in (path / SEGMENTERS).iterdir()) if (path / SEGMENTERS).is_dir() else []
    msg = (
        f"no segmenter in {folder}; wanted the folder of a finished run, or of its segmenter. "
        f"Sites with a segmenter of their own (--site): {', '.join(own) or 'none'}"
    )
    raise ConfigError(msg)


def read_run(run: Path | None, segmenter: Path) -> RunFacts:
    """Read what the run's folder tells; a model without a run has no facts.

    Raises:
        ConfigError: If `federation.json` or `evaluation.json` is there but cannot be understood.
        InputError: If the history is damaged.
    """
    if run is None or not (run / FEDERATION_FILE).exists():
        return RunFacts()
    try:
        listed = json.loads((run / FEDERATION_FILE).read_text(encoding="utf-8"))["sites"]
        file = run / EVALUATION_FILE
        scored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        pseudonyms = _pseudonyms(listed)
        history = read_history(run / HISTORY_FILE)
        sites = tuple(_site(site, pseudonyms, scored, history) for site in listed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{run}: {FEDERATION_FILE} or {EVALUATION_FILE} is no record of a run ({type(error).__name__}: {error})"
        raise ConfigError(msg) from error
    rounds: dict[str, int] = {}
    for record in history:
        rounds[record.phase] = rounds.get(record.phase, 0) + 1
    return RunFacts(sites=sites, rounds=rounds, made_for=pseudonyms.get(segmenter.resolve().name, ""))


def _pseudonyms(listed: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    targets = [str(site["site_id"]) for site in listed if site["role"] == SiteRole.TARGET]
    named = {site_id: f"target-{number}" for number, site_id in enumerate(targets, start=1)}
    return {str(site["site_id"]): named.get(str(site["site_id"]), "source") for site in listed}


def _site(
    listed: Mapping[str, Any],
    pseudonyms: Mapping[str, str],
    scored: Mapping[str, Any],
    history: Sequence[RoundRecord],
) -> SiteFacts:
    site_id = str(listed["site_id"])
    told = [record.sites[site_id].metrics for record in history if site_id in record.sites]
    sure = [metrics["confidence"] for metrics in told if "confidence" in metrics]
    scores = {
        row: {name: float(sites[site_id][name]) for name in TOLD_SCORES if sites[site_id].get(name) is not None}
        for row, sites in scored.items()
        if site_id in sites
    }
    return SiteFacts(
        pseudonym=pseudonyms[site_id],
        role=SiteRole(listed["role"]),
        num_cases=int(listed["num_cases"]),
        num_test_cases=int(listed["num_test_cases"]),
        confidence=sure[-1] if sure else None,
        scores={row: values for row, values in scores.items() if values},
    )
