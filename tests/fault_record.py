"""Which test shows what about which fault, and what `make chaos` writes down: a page to read and a file to compare.

A test says by its mark `fault` which rows it shows: `@pytest.mark.fault("R-04", "R-05")`. What it has found in numbers
it says with `record_property`. Its name is what was injected and what came of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FAULTS: Mapping[str, str] = {
    "R-01": "the coordinator is killed anywhere in a round",
    "R-02": "a site is killed anywhere in its work",
    "R-03": "somebody asks for the end, once and twice",
    "R-04": "the disk is full at any byte of a checkpoint",
    "R-05": "the disk is ill: input/output errors, read-only, quota",
    "R-06": "the line is cut in the middle of an upload",
    "R-07": "the line is slow",
    "R-08": "a site never appears",
    "R-09": "a site is a hundred times slower than the others",
    "R-10": "a reply comes twice, late, out of order, or is played again",
    "R-11": "clocks differ, or jump",
    "R-12": "another federation answers at the address",
    "R-13": "there is no memory for the average",
    "R-14": "there is no memory for a training step",
    "R-15": "a process that works for another one dies",
    "R-16": "two hundred rounds in a row",
    "R-17": "server and site are of different versions",
    "R-18": "the newest checkpoint is damaged",
    "R-19": "two runs in one folder",
    "R-20": "power is lost, with everything that was not flushed",
    "updates": "an update that is broken, poisoned, copied or not what was asked for",
    "leaks": "faults at sites whose scans bear a patient's name",
    "outside": "there is no network but the federation's own",
    "attendance": "sites that are absent, silent or back: one named state each, and a run that ends",
}
"""Every row of the table, by its name."""

RESULTS_FILE = "chaos.json"
PAGE_FILE = "README.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One test of one session."""

    rows: tuple[str, ...]
    test: str
    """File and name, with its parameters."""
    outcome: str
    seconds: float
    found: Mapping[str, object]
    """What it measured, if anything."""


def write_results(folder: Path, shown: Sequence[Shown], machine: Mapping[str, object]) -> None:
    """Write both files.

    Args:
        folder: Made if missing.
        shown: Every test that ran.
        machine: What the reader has to know of the place (`describe_machine`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"machine": dict(machine), "tests": [asdict(one) for one in shown]}
    (folder / RESULTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (folder / PAGE_FILE).write_text(page(shown, machine), encoding="utf-8")


def page(shown: Sequence[Shown], machine: Mapping[str, object]) -> str:
    """The results as a table, one line a row."""
    changed = machine.get("uncommitted_changes")
    lines = [
        "# What the federation survives",
        "",
        "Written by `make chaos`. Every row is a fault that tests inject, with what came of it; the names of the tests",
        f"say what was wanted. Commit {machine.get('commit')}, uncommitted changes: {changed};",
        f"{machine.get('cpu')}, {machine.get('cpu_cores')} cores, Python {machine.get('python')}.",
        "",
        "| Row | Fault | Tests | Passed | Seconds | Found |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row, fault in FAULTS.items():
        own = [one for one in shown if row in one.rows]
        passed = sum(one.outcome == "passed" for one in own)
        found = "; ".join(_measured(own)) or ("as the tests say" if own else "not run")
        lines.append(f"| {row} | {fault} | {len(own)} | {passed} | {sum(one.seconds for one in own):.0f} | {found} |")
    lines += ["", "## Shown by", ""]
    for row in FAULTS:
        lines += [f"- {row}: {_said(test)}" for test in sorted({_name(one) for one in shown if row in one.rows})]
    bad = [one for one in shown if one.outcome != "passed"]
    lines += ["", "## Not passed", "", *(f"- {one.outcome}: `{one.test}`" for one in bad)] if bad else []
    return "\n".join(lines) + "\n"


def _measured(shown: Iterable[Shown]) -> list[str]:
    return [f"{key.replace('_', ' ')} {value}" for one in shown for key, value in one.found.items()]


def _name(shown: Shown) -> str:
    return shown.test.partition("[")[0]


def _said(test: str) -> str:
    file, _, name = test.rpartition("::")
    return f"{re.sub('^test_', '', name).replace('_', ' ')} (`{file}`)"
