"""Every row of the table of faults has a test, and no test speaks of a row that is not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.fault_record import FAULTS, Shown, page

TESTS = Path(__file__).resolve().parents[1]


def _marked(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            yield from (ast.literal_eval(argument) for argument in node.args)


def test_every_fault_has_a_test_and_every_mark_a_fault() -> None:
    assert {row for path in TESTS.rglob("test_*.py") for row in _marked(path)} == FAULTS.keys()


def test_the_page_says_what_was_found_and_what_was_not_run() -> None:
    one = Shown(rows=("R-16",), test="tests/a.py::test_it_holds[x]", outcome="passed", seconds=2.4, found={"growth": 3})
    two = Shown(rows=("R-16", "R-20"), test="tests/a.py::test_it_breaks", outcome="failed", seconds=1.0, found={})
    text = page([one, two], {"commit": "abc"})
    assert "| R-16 | two hundred rounds in a row | 2 | 1 | 3 | growth 3 |" in text
    assert "| R-20 | power is lost, with everything that was not flushed | 1 | 0 | 1 | as the tests say |" in text
    assert "| R-01 | the coordinator is killed anywhere in a round | 0 | 0 | 0 | not run |" in text
    assert "- R-16: it holds (`tests/a.py`)" in text
    assert "- failed: `tests/a.py::test_it_breaks`" in text
