"""The doctor's page: text for a terminal, JSON for a program. ASCII only: service logs and old terminals read it."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from diffuse_uda.doctor.verdict import Status, Verdict, overall

WIDTH = 118
"""Characters of a line, where nobody says how wide the paper is."""
NARROWEST = 60


def page_text(verdicts: Sequence[Verdict], left_out: Sequence[str] = (), *, width: int = WIDTH) -> str:
    """One line a check that passed; found, wanted and fix of every other; the count last, where a terminal ends.

    Args:
        verdicts: In the order of the page.
        left_out: What was not looked at, with the option that asks for it: what nobody looked at has not passed.
        width: Characters of a line, from `NARROWEST` to `WIDTH`; others are taken for the nearer of the two.
    """
    width = min(max(width, NARROWEST), WIDTH)
    name_width = max((len(verdict.check) for verdict in verdicts), default=0)
    lines: list[str] = []
    for verdict in verdicts:
        indent = " " * (4 + 2 + name_width + 2)
        lines += _wrapped(f"{verdict.status.value:4}  {verdict.check:{name_width}}  ", verdict.found, indent, width)
        if verdict.status is not Status.PASS:
            lines += _wrapped(f"{indent}wanted: ", verdict.wanted, f"{indent}        ", width)
            lines += _wrapped(f"{indent}fix:    ", verdict.fix, f"{indent}        ", width)
    lines.append("")
    if left_out:
        lines += _wrapped("not looked at: ", ", ".join(left_out), " " * 15, width)
    return "\n".join([*lines, _count(verdicts)]).encode("ascii", "backslashreplace").decode("ascii")


def page_json(verdicts: Sequence[Verdict], left_out: Sequence[str] = ()) -> str:
    """The same as one JSON object: `status` (the worst), `checks` in the order of the page, and `left-out`."""
    checks = [asdict(verdict) for verdict in verdicts]
    return json.dumps({"status": overall(verdicts), "checks": checks, "left-out": list(left_out)}, indent=1)


def _count(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.status for verdict in verdicts)
    numbers = ", ".join(f"{counts[status]} {status.value}" for status in reversed(Status))
    return f"{overall(verdicts).value}: {numbers}"


def _wrapped(first: str, text: str, later: str, width: int) -> list[str]:
    # Fingerprints and addresses are compared by eye and copied: no breaking inside them.
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]
