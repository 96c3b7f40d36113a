"""The command line of whole federations."""

import io

import pytest
import typer
from rich.console import Console

from simulations.__main__ import parse_override, print_table


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("a.b=3", 3),
        ("a.b=0.5", 0.5),
        ("a.b=true", True),
        ("a.b=false", False),
        ("a.b=none", "none"),
        ("a.b=[1, 2]", "[1, 2]"),
    ],
)
def test_an_override_has_the_type_it_looks_like(item: str, value: object) -> None:
    key, parsed = parse_override(item)
    assert key == "a.b"
    assert parsed == value
    assert type(parsed) is type(value)


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        parse_override("adapt.num-rounds")


def test_the_table_shows_percent_and_millimetres_and_says_when_there_is_nothing() -> None:
    results = {
        "rows": ["source-only", "diffuse-uda"],
        "targets": {
            "leeds": {"source-only": {"dice": 0.5, "hd95_mm": 8.0}, "diffuse-uda": {"dice": 0.75, "hd95_mm": None}}
        },
        "summary": {"source-only": {"dice_mean": 0.5}, "diffuse-uda": {"dice_mean": None}},
    }
    out = io.StringIO()
    print_table(results, Console(file=out, width=100))
    assert "50.0 / 8.0" in out.getvalue()
    assert "75.0 / -" in out.getvalue()
