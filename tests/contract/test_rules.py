"""Every rule that the code can name is on the list of what a site says, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from diffuse_uda.data.rules import RULES
from diffuse_uda.exchange.rules import INPUT_RULES, REFUSAL_RULES

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "diffuse_uda" / "data"
RULE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
REFUSING = (
    "client/order_gate.py",
    "client/run_book.py",
    "diffuse_uda/exchange/card_policy.py",
    "diffuse_uda/exchange/envelopes.py",
    "diffuse_uda/exchange/plan.py",
    "diffuse_uda/exchange/policy.py",
)


def _texts(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and RULE.fullmatch(node.value):
        yield node.value


def _words(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield from _texts(node)


def _raised_rules(path: Path) -> Iterator[str]:
    """Rules that are named where a `BrokenRuleError` is made."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BrokenRuleError":
            yield from (word for part in ast.walk(node.args[0]) for word in _texts(part))


def _refusal_rules(path: Path) -> Iterator[str]:
    """First words of pairs that are raised, yielded or listed: a rule and what was found."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and not isinstance(node.elts[1], ast.Tuple):
            second = node.elts[1]
            if isinstance(second, ast.JoinedStr | ast.Name) or (
                isinstance(second, ast.Constant) and " " in str(second.value)
            ):
                yield from _texts(node.elts[0])


def test_every_rule_of_the_intake_gate_is_a_row_of_the_table_and_every_row_is_used() -> None:
    # a series that a segmentation refers to is looked at once more where the segmentation is written
    folders = (DATA, ROOT / "diffuse_uda" / "export")
    files = [path for folder in folders for path in folder.rglob("*.py") if DATA / "rules" not in path.parents]
    assert {rule for path in files for rule in _raised_rules(path)} <= RULES.keys()
    assert RULES.keys() - {word for path in files for word in _words(path)} == set()
    assert RULES.keys() == INPUT_RULES


def test_every_rule_of_a_refusal_is_listed() -> None:
    found = {rule for name in REFUSING for rule in _refusal_rules(ROOT / name)}
    assert found == REFUSAL_RULES
