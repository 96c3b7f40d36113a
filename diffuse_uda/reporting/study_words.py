"""How a study's numbers are spelt, in tables and in charts alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffuse_uda.reporting.rows import row_name

DASH = "-"
"""For what is undefined or not there."""

_PARTS = {
    "development": "development part of the labelled target scans (on which choices were made)",
    "test": "test part of the labelled target scans (on which no choice was made)",
    "all": "all labelled target scans (development and test part)",
}


def percent(share: float | None) -> str:
    """Spell a share, such as 0.554, as `55.4`."""
    return DASH if share is None else f"{100 * share:.1f}"


def points(difference: float | None) -> str:
    """Spell a difference of shares in points with its sign: 0.012 is `+1.2`."""
    # The zero takes the sign off a difference that rounds to nothing.
    return DASH if difference is None else f"{round(100 * difference, 1) + 0.0:+.1f}"


def interval_text(interval: Sequence[float] | None, *, signed: bool = False) -> str:
    """Spell an interval of shares as `[52.0, 58.1]`; nothing if there is none."""
    if interval is None:
        return ""
    low, high = (points(bound) if signed else percent(bound) for bound in interval)
    return f"[{low}, {high}]"


def millimetres(distance: float | None) -> str:
    """Spell a distance with one decimal."""
    return DASH if distance is None else f"{distance:.1f}"


def p_text(p: float | None) -> str:
    """Spell a p with three decimals; smaller ones as `<0.001`, because their digits say nothing."""
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def joined(*parts: str) -> str:
    """Put words behind each other, leaving out empty ones."""
    return " ".join(part for part in parts if part)


def plural(number: int, noun: str) -> str:
    """Count things: `1 patient`, `2 patients`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(values: Iterable[object]) -> str:
    """Spell values with commas."""
    return ", ".join(map(str, values))


def level_text(results: Mapping[str, Any]) -> str:
    """Spell the level of the study's intervals: `95 %`."""
    return f"{100 * results['statistics']['level']:g} %"


def sample_text(results: Mapping[str, Any]) -> str:
    """Say which scans the numbers are of, how many there are, and with which seeds."""
    counts = [f"{site_id} {_num_patients(results, site_id)}" for site_id in results["targets"]]
    total = sum(_num_patients(results, site_id) for site_id in results["targets"])
    seeds = results["seeds"]
    return (
        f"{_PARTS[results['part']].capitalize()}: {plural(total, 'patient')} at {plural(len(counts), 'target')} "
        f"({listed(counts)}); {plural(len(seeds), 'seed')} ({listed(seeds)})."
    )


def interval_caption(results: Mapping[str, Any]) -> str:
    """Say what the intervals are and what they leave out."""
    return (
        f"[ ] is the {level_text(results)} percentile bootstrap interval "
        f"({results['statistics']['num_resamples']} resamples of the patients within each target; every patient's "
        "seeds are averaged first): it speaks of other patients of the same hospitals, not of other hospitals or seeds."
    )


def missing_text(results: Mapping[str, Any]) -> str:
    """Say what a complete study would hold and this one does not; empty if it is complete."""
    missing = [
        f"{row_name(row)} ({'; '.join(f'{site_id}: seed {listed(seeds)}' for site_id, seeds in by_site.items())})"
        for row, by_site in results["missing"].items()
    ]
    return f"Not there yet: {', '.join(missing)}." if missing else ""


def _num_patients(results: Mapping[str, Any], site_id: str) -> int:
    return max((line["num_cases"] for line in results["targets"][site_id].values()), default=0)
