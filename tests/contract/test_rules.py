"""Every rule that the code can name is on the list of what a site says, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from diffuse_uda.exchange.rules import INPUT_RULES, REFUSAL_RULES

ROOT = Path(__file__).resolve().parents[2]
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


def _input_rules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in {"BrokenRuleError", "Finding", "warn", "_membership"}:
                named = next((keyword.value for keyword in node.keywords if keyword.arg == "rule"), None)
                yield from _texts(node.args[0] if node.args else named)


def _refusal_rules(path: Path) -> Iterator[str]:
    """First words of pairs that are raised, yielded or listed: a rule and what was found."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and not isinstance(node.elts[1], ast.Tuple):
            second = node.elts[1]
            if isinstance(second, ast.JoinedStr | ast.Name) or (
                isinstance(second, ast.Constant) and " " in str(second.value)
            ):
                yield from _texts(node.elts[0])


def test_every_rule_of_the_intake_gate_is_listed() -> None:
    found = {rule for path in (ROOT / "diffuse_uda" / "data").rglob("*.py") for rule in _input_rules(path)}
    assert found == INPUT_RULES


def test_every_rule_of_a_refusal_is_listed() -> None:
    found = {rule for name in REFUSING for rule in _refusal_rules(ROOT / name)}
    assert found == REFUSAL_RULES
