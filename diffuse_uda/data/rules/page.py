"""`docs/intake-rules.md`, made from the table of rules and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from diffuse_uda.data.rules import GROUPS, Reaction, Rule
from diffuse_uda.data.rules.remarks import REMARKS

REACTIONS = {
    Reaction.RUN: "the centre is refused before round 1 (exit code 2)",
    Reaction.CASE: "the case is quarantined, the run goes on with the rest (exit code 6)",
    Reaction.WARN: "the run goes on, somebody should look (exit code 6)",
    Reaction.NOTE: "the run goes on, it is only written down",
    Reaction.PAUSE: "the run stops safely and can be resumed",
}


def rules_page() -> str:
    """The table as a page in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# What the intake gate looks at"
    yield ""
    yield (
        "`diffuse-uda check FOLDER --role source|target` reads every file of a centre once; the same gate stands at "
        "the start of every run. This page is made from its table of rules: `diffuse-uda rules > docs/intake-rules.md`."
    )
    yield ""
    yield "| reaction | what happens |"
    yield "|---|---|"
    for reaction, words in REACTIONS.items():
        yield f"| {reaction} | {words} |"
    yield ""
    yield (
        "A centre is refused as well where quarantine leaves it less than half of its training scans, or none. "
        "`--fix OUT` writes a corrected copy of the folder to OUT, never into the folder itself, and a log of what was "
        "before and after. Nothing of a finding leaves a site but the name of the rule and a salted name of the case."
    )
    for title, rules in GROUPS.items():
        if rules:
            yield from (
                "",
                f"## {title}",
                "",
                "| code | rule | reaction | wanted | what to do |",
                "|---|---|---|---|---|",
            )
            yield from map(_row, rules)
    yield from ("", "## Rules that are judgements", "", "How they are found, and where they cannot be.", "")
    for rule in (rule for rules in GROUPS.values() for rule in rules if rule.how):
        yield f"- **{rule.slug}** ({rule.code}): {_cell(rule.how)}."
    yield from ("", "## No rule needed", "", "| code | input | what happens |", "|---|---|---|")
    for remark in REMARKS:
        yield f"| {remark.code} | {_cell(remark.about)} | {_cell(remark.answer)} |"


def _row(rule: Rule) -> str:
    fix = rule.fix if not rule.correction else f"{rule.fix}; `--fix` writes {rule.correction}"
    return f"| {rule.code} | `{rule.slug}` | {rule.reaction} | {_cell(rule.wanted)} | {_cell(fix)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
