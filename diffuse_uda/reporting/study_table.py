"""The tables of a study as Markdown, with captions that say what a reader needs to trust or doubt them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffuse_uda.reporting.rows import is_ablation, row_name
from diffuse_uda.reporting.study_comparison_tables import ablation_table, centralised_table, significance_table
from diffuse_uda.reporting.study_markdown import markdown_lines, section
from diffuse_uda.reporting.study_words import (
    DASH,
    interval_caption,
    interval_text,
    joined,
    level_text,
    listed,
    millimetres,
    missing_text,
    percent,
    points,
    sample_text,
)

_PLUS_MINUS = "\N{PLUS-MINUS SIGN} is the standard deviation over seeds."
_GAP = (
    "Gap closed is (method - source-only) / (target-supervised - source-only), at every target and then averaged; of "
    "means: the same of the mean Dice of all targets."
)
_MISSED = (
    "A structure is missed where it is there and nothing was predicted: it counts as Dice 0 and has no HD95, which is "
    "the mean over the others."
)
_COST = (
    "From the first round to the row, hence with the rows before it in the same run, all sites together, without "
    "scoring; mean over seeds. MB is 10^6 bytes."
)


def study_markdown(results: Mapping[str, Any]) -> str:
    """Write every table of a study for which there are numbers.

    Args:
        results: As `study_results.build_study_results` makes them.

    Returns:
        Markdown that ends with a newline.
    """
    parts = [
        main_table(results),
        significance_table(results),
        centralised_table(results),
        structure_table(results),
        ablation_table(results),
        oracle_table(results),
        cost_table(results),
        _provenance(results),
    ]
    return "\n".join(part for part in parts if part)


def main_table(results: Mapping[str, Any]) -> str:
    """Write Dice and HD95 of every row at every target, the mean, the worst target, and the gap closed.

    An undefined number is a dash; ablations have a table of their own.
    """
    targets = results["targets"]
    header = [
        "method",
        *(f"{site_id}: Dice % / HD95 mm" for site_id in targets),
        f"mean Dice % [{level_text(results)}]",
        "worst target, Dice %",
        "gap closed %, mean (worst)",
        "gap of means closed %",
        "structures missed",
    ]
    lines = [_main_line(results, row) for row in results["rows"] if not is_ablation(row)]
    caption = [
        sample_text(results),
        "Every number is a mean over structures, patients and seeds;",
        "one seed: its share in chance is unknown." if len(results["seeds"]) == 1 else _PLUS_MINUS,
        interval_caption(results),
        _GAP,
        _MISSED,
        *(f"No share of the gap at {site_id}: {reason}." for site_id, reason in _undefined_gaps(results).items()),
        missing_text(results),
    ]
    return section("Methods and targets", markdown_lines(header, lines), caption)


def _main_line(results: Mapping[str, Any], row: str) -> list[str]:
    summary, targets = results["summary"][row], results["targets"]
    scored, total = summary["num_targets"], len(targets)
    worst = summary["worst_site"]
    closed_worst = summary["gap_closed_worst"]
    name = row_name(row)
    return [
        f"**{name}**" if row == results["comparisons"]["row"] else name,
        *(_cell(table.get(row)) for table in targets.values()),
        joined(
            percent(summary["dice_mean"]),
            _spread(summary["dice_std"]),
            interval_text(summary["interval"]),
            f"({scored} of {total} targets)" if scored != total else "",
        ),
        DASH if worst is None else f"{worst}, {percent(summary['dice_worst'])}",
        joined(percent(summary["gap_closed_mean"]), "" if closed_worst is None else f"({percent(closed_worst)})"),
        percent(summary["gap_closed_of_means"]),
        f"{summary['missed']} of {summary['num_predictions']}",
    ]


def _cell(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return DASH
    dice = joined(percent(line["dice"]), _spread(line["dice_std"]))
    return f"{dice} / {millimetres(line['hd95_mm'])}"


def _spread(std: float | None) -> str:
    return "" if std is None else f"\N{PLUS-MINUS SIGN} {percent(std)}"


def _undefined_gaps(results: Mapping[str, Any]) -> dict[str, str]:
    gaps = results["gaps"].items()
    return {site_id: gap["undefined_because"] for site_id, gap in gaps if gap["undefined_because"] is not None}


def structure_table(results: Mapping[str, Any]) -> str:
    """Write the Dice of every structure, a line for every target and row."""
    names = list(
        dict.fromkeys(
            name for table in results["targets"].values() for line in table.values() for name in line["structures"]
        )
    )
    lines = [
        [site_id, row_name(row), *(_structure_cell(line["structures"].get(name)) for name in names)]
        for site_id, table in results["targets"].items()
        for row, line in table.items()
        if not is_ablation(row)
    ]
    caption = [
        sample_text(results),
        "Dice % of every structure, mean over patients and seeds; in brackets how often it was missed, over all seeds.",
    ]
    return section("Structures", markdown_lines(["target", "method", *names], lines), caption) if lines else ""


def _structure_cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return DASH
    return joined(percent(entry["dice"]), f"({entry['missed']} missed)" if entry["missed"] else "")


def cost_table(results: Mapping[str, Any]) -> str:
    """Write what every row cost; empty if no run said."""
    timing = results["measured"]["timing"]["rows"]
    header = ["method", "rounds", "server to sites, MB", "sites to server, MB", "wall time, min", "images / s"]
    lines = [
        [
            row_name(row),
            str(cost["rounds"]),
            _megabytes(cost["to_sites_bytes"]),
            _megabytes(cost["to_server_bytes"]),
            _decimal(timing[row]["seconds"], 60.0),
            _decimal(timing[row]["images_per_second"], 1.0),
        ]
        for row, cost in results["cost"].items()
    ]
    return section("Cost", markdown_lines(header, lines), [_COST]) if lines else ""


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f}"


def _decimal(value: float | None, unit: float) -> str:
    return DASH if value is None else f"{value / unit:.1f}"


def oracle_table(results: Mapping[str, Any]) -> str:
    """Write what choosing the round by the test labels would have brought; empty where no rounds were scored."""
    header = ["method", "target", "chosen without labels, Dice %", "oracle, Dice %", "price, points", "oracle's rounds"]
    lines = [
        [
            row_name(row),
            site_id,
            percent(choice["dice"]),
            percent(choice["oracle_dice"]),
            points(choice["oracle_dice"] - choice["dice"]),
            listed(choice["oracle_rounds"].values()),
        ]
        for row, by_site in results["oracle"].items()
        for site_id, choice in by_site.items()
    ]
    caption = [
        "The oracle looks at the labels it is scored on: no hospital could choose so, and no other table uses it.",
        "The price is what choosing without labels cost; the rounds are in the order of the seeds.",
    ]
    return section("The price of choosing without labels", markdown_lines(header, lines), caption) if lines else ""


def _provenance(results: Mapping[str, Any]) -> str:
    environment = results["measured"]["environment"]
    command = f"`{environment['command']}`;" if environment.get("command") else ""
    facts = [f"{key} {value}" for key, value in environment.items() if value is not None and key != "command"]
    return joined(command, f"seeds {listed(results['seeds'])};", listed(facts)) + "\n"
