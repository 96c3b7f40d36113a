"""`report.html`: one page that needs nothing but a browser, for somebody who reads scans and not logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.reporting.case_sheets import data_address
from diffuse_uda.reporting.charts import render_curves, render_dice_chart
from diffuse_uda.reporting.headline import compose_headline
from diffuse_uda.reporting.history_view import RoundRecord, loss_curves
from diffuse_uda.reporting.overlays import render_case
from diffuse_uda.reporting.pairs import render_pairs
from diffuse_uda.reporting.rows import headline_row, row_name
from diffuse_uda.reporting.templating import number, template_environment
from diffuse_uda.reporting.views import CaseView, PairsOfTarget, worst_first
from diffuse_uda.types import Scalar

MAX_FIGURE_BYTES = 3_000_000
"""Scans and pairs stop being added beyond this: encoded, the whole page stays below 5 MB."""
MAX_CASES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyListing:
    """What the exchange policy allowed to leave a site in this study."""

    tensors: Mapping[str, Sequence[str]]
    """Names of the tensors by model."""
    scalars: Sequence[str]
    """Names of counts, losses and mean scores."""
    style_blocks: bool = False
    """Whether each site published one mean amplitude block."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReportInputs:
    """Everything a report is made of."""

    title: str
    results: Mapping[str, Any]
    """As `results.build_results` makes them."""
    label_names: Sequence[str]
    """Classes, background first."""
    config: Mapping[str, Scalar]
    """The study as flat keys (`StudyConfig.to_flat`)."""
    history: Sequence[RoundRecord]
    policy: PolicyListing
    cases: Sequence[CaseView] = ()
    """Held-out scans to show, in any order: the worst come first."""
    pairs: Sequence[PairsOfTarget] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure inside the page."""

    source: str
    """A `data:` address."""
    alt: str
    caption: str


def render_report(inputs: ReportInputs) -> str:
    """Make the page. The same inputs give the same text.

    Returns:
        HTML that loads nothing: style inline, pictures as `data:` addresses, and a content security policy that
        would forbid anything else.
    """
    results = inputs.results
    budget = _Budget(MAX_FIGURE_BYTES)
    row = headline_row(results["rows"])
    shown_cases = list(budget.take(_case_pictures(worst_of_every_target(inputs.cases), inputs.label_names)))
    shown_pairs = list(budget.take(_pair_pictures(inputs.pairs, inputs.label_names)))
    return (
        template_environment()
        .get_template("report.html.j2")
        .render(
            title=inputs.title,
            results=results,
            headline=compose_headline(results),
            headline_row=row,
            structures=_structure_tables(results),
            dice_chart=_dice_chart(results),
            cases=shown_cases,
            num_scored=_num_scored(results),
            timing=_timing_lines(results["measured"].get("timing", {})),
            pairs=shown_pairs,
            curves=_curves(inputs),
            policy=inputs.policy,
            config=inputs.config,
        )
    )


def worst_of_every_target(cases: Sequence[CaseView], *, max_cases: int = MAX_CASES) -> list[CaseView]:
    """Choose cases to show: every target's worst, then every target's second worst and so on; sorted worst first."""
    ranks: dict[str, int] = {}
    ranked = []
    for case in worst_first(cases):
        ranks[case.site_id] = ranks.get(case.site_id, -1) + 1
        ranked.append((ranks[case.site_id], case))
    chosen = sorted(ranked, key=lambda entry: entry[0])[:max_cases]
    return worst_first([case for _, case in chosen])


def write_report(path: Path, html: str) -> None:
    """Write the page: the whole file appears at once or not at all."""
    with replaced_atomically(path) as part:
        part.write_text(html, encoding="utf-8")


class _Budget:
    """Counts the bytes of the figures and closes the door when they are spent."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def take(self, pictures: Iterator[tuple[bytes, Picture]]) -> Iterator[Picture]:
        """Pass pictures on while there is room; what comes later is not even drawn."""
        while self._left > 0 and (drawn := next(pictures, None)) is not None:
            self._left -= len(drawn[0])
            yield drawn[1]


def _case_pictures(cases: Sequence[CaseView], label_names: Sequence[str]) -> Iterator[tuple[bytes, Picture]]:
    for case in cases:
        content = render_case(case, label_names)
        scores = ", ".join(f"{row_name(row)} {number(case.dice.get(row), '.3f')}" for row in case.predictions)
        yield (
            content,
            Picture(
                source=data_address(content, "png"),
                alt=f"Axial, coronal and sagittal plane of {case.case_id} at {case.site_id}; Dice: {scores or 'none'}",
                caption=f"{case.site_id}, {case.case_id}",
            ),
        )


def _pair_pictures(pairs: Sequence[PairsOfTarget], label_names: Sequence[str]) -> Iterator[tuple[bytes, Picture]]:
    for target in pairs:
        if target.real or target.synthetic:
            content = render_pairs(target, label_names)
            yield (
                content,
                Picture(
                    source=data_address(content, "png"),
                    alt=f"{len(target.real)} real scans and {len(target.synthetic)} synthetic pairs, {target.site_id}",
                    caption=target.site_id,
                ),
            )


def _dice_chart(results: Mapping[str, Any]) -> Picture | None:
    lines = [line for table in results["targets"].values() for line in table.values()]
    if all(line["dice"] is None for line in lines):
        return None
    return Picture(
        source=data_address(render_dice_chart(results["targets"], results["rows"]), "svg+xml"),
        alt="Dice of every method at every target; the numbers are in the table above",
        caption="",
    )


def _curves(inputs: ReportInputs) -> Picture | None:
    if not (curves := loss_curves(inputs.history)):
        return None
    return Picture(
        source=data_address(render_curves(curves, list(inputs.results["sites"])), "svg+xml"),
        alt=f"Loss over the rounds of {', '.join(curves)}",
        caption="",
    )


def _num_scored(results: Mapping[str, Any]) -> int:
    tables = results["targets"].values()
    return sum(max((line["num_cases"] for line in table.values()), default=0) for table in tables)


def _timing_lines(timing: Mapping[str, Any]) -> dict[str, float]:
    """Flatten times by part and, one level deeper, by phase."""
    lines: dict[str, float] = {}
    for name, value in timing.items():
        lines |= value if isinstance(value, Mapping) else {name: value}
    return lines


def _structure_tables(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Turn `targets.<site>.<row>.structures.<name>` into site, structure, row: the way the table is read."""
    return {
        site_id: {
            name: {row: line["structures"].get(name) for row, line in table.items()}
            for name in dict.fromkeys(name for line in table.values() for name in line["structures"])
        }
        for site_id, table in results["targets"].items()
        if table
    }
