"""The sentence on top of a report, computed from the numbers, whichever way they went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from diffuse_uda.reporting.rows import CEILING, FLOOR, headline_row, row_name
from diffuse_uda.reporting.scores import mean_defined

NOTICEABLE = 0.005
"""Smaller changes of a mean Dice are called none."""

_BEFORE_THE_GENERATOR = {"recoloured": "Training on recoloured scans", "asc-plus": "ASC+"}
"""Rows whose segmenter has seen no rendered image, the latest first, and how a sentence names them."""

_Table = Mapping[str, Mapping[str, Any]]


class Verdict(StrEnum):
    """Which way the mean over the targets went."""

    BETTER = "better"
    SAME = "no difference"
    WORSE = "worse"
    UNKNOWN = "not measured"


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """What a reader should take away."""

    verdict: Verdict
    sentence: str
    details: tuple[str, ...]
    """What the mean hides, one sentence each."""


def compose_headline(results: Mapping[str, Any]) -> Headline:
    """Say what the last adapted method brought over source-only at the targets.

    Only targets that have both scores count, so that the two means are over the same scans. A loss is said as
    plainly as a gain, and a target that lost while the mean won is named.

    Args:
        results: As `results.build_results` makes them.
    """
    row = headline_row(results["rows"])
    if row is None:
        return _without_adaptation(results)
    pairs = {
        site_id: (table[FLOOR]["dice"], table[row]["dice"])
        for site_id, table in results["targets"].items()
        if _dice(table, FLOOR) is not None and _dice(table, row) is not None
    }
    if not pairs:
        sentence = f"No target holds labelled test scans, so what {row_name(row)} brought was not measured."
        return Headline(verdict=Verdict.UNKNOWN, sentence=sentence, details=())
    name, where = row_name(row), _where(list(pairs))
    before = mean_defined(floor for floor, _ in pairs.values()) or 0.0
    after = mean_defined(adapted for _, adapted in pairs.values()) or 0.0
    verdict = _verdict(after - before)
    sentence = {
        Verdict.BETTER: f"Without a single target label, {name} raised the mean Dice {where} "
        f"from {before:.3f} to {after:.3f}{_gap_clause(results, row)}.",
        Verdict.SAME: f"{name} made no difference: the mean Dice {where} went from {before:.3f} to {after:.3f}.",
        Verdict.WORSE: f"{name} did harm: the mean Dice {where} fell from {before:.3f} to {after:.3f}.",
    }[verdict]
    details = [
        *_exceptions(pairs, verdict),
        *_scan_count(results, row, list(pairs)),
        *_ablation(results, row, list(pairs), after),
        *_caution(results, row),
    ]
    return Headline(verdict=verdict, sentence=sentence, details=tuple(details))


def _without_adaptation(results: Mapping[str, Any]) -> Headline:
    dice = results["summary"].get(FLOOR, {}).get("dice_mean")
    score = "it was not scored at any target" if dice is None else f"its mean Dice at the targets is {dice:.3f}"
    sentence = f"This run trained at the source only and adapted nothing; {score}."
    return Headline(verdict=Verdict.UNKNOWN, sentence=sentence, details=())


def _dice(table: _Table, row: str) -> float | None:
    return table[row]["dice"] if row in table else None


def _verdict(change: float) -> Verdict:
    # Six digits: a difference of decimal fractions is a little off.
    change = round(change, 6)
    if change >= NOTICEABLE:
        return Verdict.BETTER
    return Verdict.WORSE if change <= -NOTICEABLE else Verdict.SAME


def _where(site_ids: Sequence[str]) -> str:
    return f"at {site_ids[0]}" if len(site_ids) == 1 else f"over {len(site_ids)} target centres"


def _gap_clause(results: Mapping[str, Any], row: str) -> str:
    closed = results["summary"][row]["gap_closed_mean"]
    if closed is None:
        return ""
    return f", closing {closed:.0%} of the gap to training with target labels"


def _exceptions(pairs: Mapping[str, tuple[float, float]], verdict: Verdict) -> list[str]:
    if len(pairs) == 1:
        return []
    others = {Verdict.BETTER: (Verdict.WORSE,), Verdict.WORSE: (Verdict.BETTER,)}.get(
        verdict, (Verdict.BETTER, Verdict.WORSE)
    )
    words = {Verdict.BETTER: "rose", Verdict.WORSE: "fell"}
    return [
        f"At {site_id} it {words[change]} from {floor:.3f} to {adapted:.3f}."
        for site_id, (floor, adapted) in pairs.items()
        if (change := _verdict(adapted - floor)) in others
    ]


def _scan_count(results: Mapping[str, Any], row: str, site_ids: Sequence[str]) -> list[str]:
    better = total = 0
    for site_id in site_ids:
        table = results["targets"][site_id]
        floor = {case["case_id"]: case["dice"] for case in table[FLOOR]["cases"]}
        for case in table[row]["cases"]:
            if case["dice"] is not None and floor.get(case["case_id"]) is not None:
                better += case["dice"] > floor[case["case_id"]]
                total += 1
    return [f"{better} of {total} held-out target scans were segmented better than by source-only."] if total else []


def _ablation(results: Mapping[str, Any], row: str, site_ids: Sequence[str], after: float) -> list[str]:
    # of several, the last: what the generator adds is what the row before it lacks
    stage = next((stage for stage in _BEFORE_THE_GENERATOR if stage in results["rows"]), None)
    if stage is None or row in _BEFORE_THE_GENERATOR:
        return []
    scores = [_dice(results["targets"][site_id], stage) for site_id in site_ids]
    if (mean := mean_defined(scores)) is None or None in scores:
        return []
    before = f"{_BEFORE_THE_GENERATOR[stage]}, the stage before the generator, reached {mean:.3f}"
    return [
        {
            Verdict.BETTER: f"{before}; {row_name(row)} added {after - mean:.3f}.",
            Verdict.SAME: f"{before}, which is as good.",
            Verdict.WORSE: f"{before}, which is better: {row_name(row)} lost {mean - after:.3f}.",
        }[_verdict(after - mean)]
    ]


def _caution(results: Mapping[str, Any], row: str) -> list[str]:
    details = [
        f"The share of the gap is undefined at {site_id}: {gap['undefined_because']}."
        for site_id, gap in results["gaps"].items()
        if gap["undefined_because"] is not None and CEILING in results["rows"] and row in results["targets"][site_id]
    ]
    if len(results["seeds"]) == 1:
        details.append("One seed: how much of a difference is chance, this run alone cannot tell.")
    return details
