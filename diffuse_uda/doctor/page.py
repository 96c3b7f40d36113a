"""The doctor's page: text for a terminal, JSON for a program. ASCII only: service logs and old terminals read it."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from diffuse_uda.doctor.verdict import Status, Verdict, overall

WIDTH = 118
"""Characters of a line."""


def page_text(verdicts: Sequence[Verdict]) -> str:
    """One line a check that passed; found, wanted and fix of every other; the count last, where a terminal ends."""
    name_width = max((len(verdict.check) for verdict in verdicts), default=0)
    lines: list[str] = []
    for verdict in verdicts:
        indent = " " * (4 + 2 + name_width + 2)
        lines += _wrapped(f"{verdict.status.value:4}  {verdict.check:{name_width}}  ", verdict.found, indent)
        if verdict.status is not Status.PASS:
            lines += _wrapped(f"{indent}wanted: ", verdict.wanted, f"{indent}        ")
            lines += _wrapped(f"{indent}fix:    ", verdict.fix, f"{indent}        ")
    return "\n".join([*lines, "", _count(verdicts)]).encode("ascii", "backslashreplace").decode("ascii")


def page_json(verdicts: Sequence[Verdict]) -> str:
    """The same as one JSON object: `status` (the worst) and `checks`, in the order of the page."""
    return json.dumps({"status": overall(verdicts), "checks": [asdict(verdict) for verdict in verdicts]}, indent=1)


def _count(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.status for verdict in verdicts)
    numbers = ", ".join(f"{counts[status]} {status.value}" for status in reversed(Status))
    return f"{overall(verdicts).value}: {numbers}"


def _wrapped(first: str, text: str, later: str) -> list[str]:
    # Fingerprints and addresses are compared by eye and copied: no breaking inside them.
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]
