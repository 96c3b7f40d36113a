"""Texts of the command line, read or refused."""

import pytest
import typer

from simulations.options import parse_numbers, parse_override, parse_part


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


def test_seeds_are_different_whole_numbers() -> None:
    assert parse_numbers("0,1,2", "--seeds") == (0, 1, 2)
    for wrong in ("", "0,", "0,0", "-1", "1.5"):
        with pytest.raises(typer.BadParameter, match="different whole numbers"):
            parse_numbers(wrong, "--seeds")


def test_a_part_is_a_known_one() -> None:
    assert parse_part("test") == "test"
    with pytest.raises(typer.BadParameter, match="wanted one of development, test, all"):
        parse_part("training")
