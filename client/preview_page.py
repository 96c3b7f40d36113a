"""What would leave, on a page that a data protection officer can read: plain ASCII, as wide as the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from client.preview import Leaving, orders_for
from client.site import Site
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.policy import STATISTICS
from diffuse_uda.exchange.signing import fingerprint

_KEPT = {
    "withheld-rows": "rows of the class table: over too few cases, they go back as they came",
    "withheld-scalars": "scalars that the site's own policy does not list ({count:.0f})",
    "withheld-scores": "means over too few cases ({count:.0f})",
}
"""What the gate kept back, by the scalar that says so."""

_LABEL_WIDTH = 11
"""Of the words before what a message says."""


def page(messages: Sequence[Leaving], site: Site, study: StudyConfig, *, width: int) -> str:
    """Everything that would leave, message by message, and what a whole run would add up to.

    Args:
        messages: What the preview has found.
        site: Whose messages.
        study: The whole study, of which the preview did one round of every task.
        width: Characters of a line.
    """
    key = fingerprint(bytes.fromhex(messages[0].facts["key"]))
    intro = (
        f"What site {site.site_id} would send as a {site.role.value} in the study '{study.name}' (method "
        f"{study.method}, plan {plan_hash(study)[:16]}...). One round of every task, one step a round; nothing was "
        f"sent. Every message is signed with the key {key} and bears site, run, phase and round."
    )
    lines = [*textwrap.wrap(intro, width, break_on_hyphens=False), ""]
    name_width = max(len(message.name) for message in messages)
    for number, message in enumerate(messages, start=1):
        lines.append(f"{number:2}  {message.name:{name_width}}  {len(message.wire):>13,} bytes")
        for label, text in _said(message.facts):
            indent = " " * (4 + _LABEL_WIDTH)
            lines += textwrap.wrap(
                text,
                width,
                initial_indent=f"    {label:{_LABEL_WIDTH}}",
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
    return "\n".join([*lines, "", *textwrap.wrap(_total(messages, site, study), width, break_on_hyphens=False)])


def _said(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What one message says: label and text."""
    if words := facts.get("words"):
        yield "refused", words
        return
    if "labels" in facts:
        trained, scored = facts["cases"]
        yield "cases", f"{trained} for training, {scored} to be scored"
        if facts["labels"]:
            yield "labels", ", ".join(facts["labels"])
        if numbers := facts.get("fingerprint"):
            yield "scans", ", ".join(f"{name} {number:g}" for name, number in numbers.items())
    else:
        yield "cases", str(facts["cases"])
    if tensors := facts["tensors"]:
        yield "tensors", _tensors(tensors)
    scalars = facts.get("scalars", {})
    told_by = [tensor["name"] for tensor in facts["tensors"] if tensor["name"].endswith(STATISTICS)]
    if told_by and "withheld-rows" not in scalars:
        yield "statistics", f"{', '.join(told_by)} hold what the classes look like in this site's scans"
    if told := ", ".join(f"{key} {value:g}" for key, value in sorted(scalars.items()) if key not in _KEPT):
        yield "scalars", told
    if kept := "; ".join(words.format(count=scalars[key]) for key, words in _KEPT.items() if key in scalars):
        yield "kept here", kept


def _tensors(tensors: Sequence[Mapping[str, Any]]) -> str:
    norms = [tensor["norm"] for tensor in tensors]
    dtypes = ", ".join(sorted({tensor["dtype"] for tensor in tensors}))
    largest = max(tensors, key=lambda tensor: tensor["norm"])["name"]
    return f"{len(tensors)} of {dtypes}, norms {min(norms):.4g} to {max(norms):.4g} ({largest})"


def _total(messages: Sequence[Leaving], site: Site, study: StudyConfig) -> str:
    size_of = {message.task: len(message.wire) for message in messages}
    rounds = [(phase.num_rounds, size_of[order.task.value]) for phase, order in orders_for(site, study, ())]
    num_messages = 1 + sum(count for count, _ in rounds)
    num_bytes = len(messages[0].wire) + sum(count * size for count, size in rounds)
    return (
        f"A whole run of this study with one target: {num_messages} messages, about {num_bytes / 1e6:,.1f} MB "
        f"(the study allows {study.exchange.max_run_bytes / 1e6:,.0f} MB a run). Every tensor and its norm: --json. "
        "The very bytes: --out FOLDER."
    )
