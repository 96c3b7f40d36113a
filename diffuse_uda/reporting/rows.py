"""The rows of a table: one for every method, in reading order, from the floor to the ceiling."""

from __future__ import annotations

from collections.abc import Iterable

FLOOR = "source-only"
CEILING = "target-supervised"

_ORDER = (FLOOR, "asc", "asc-plus", "diffuse-uda-pass-", "diffuse-uda", "le-uda", "*", CEILING)
_NAMES = {
    FLOOR: "Source-only",
    "asc": "ASC",
    "asc-plus": "ASC+",
    "diffuse-uda": "Diffuse-UDA",
    "le-uda": "LE-UDA",
    CEILING: "Target-supervised",
}
_PASS = "diffuse-uda-pass-"  # noqa: S105 - a pass over the generator's phases


def row_order(rows: Iterable[str]) -> list[str]:
    """Sort method rows for reading: source-only first, target-supervised last, each row once."""
    return sorted(set(rows), key=_key)


def _key(row: str) -> tuple[int, int, str]:
    number = row.removeprefix(_PASS)
    if row.startswith(_PASS) and number.isdecimal():
        return _ORDER.index(_PASS), int(number), row
    return _ORDER.index(row if row in _ORDER else "*"), 0, row


def row_name(row: str) -> str:
    """Spell a method row as its paper does; an unknown row keeps its own name."""
    number = row.removeprefix(_PASS)
    if row.startswith(_PASS) and number.isdecimal():
        return f"Diffuse-UDA, pass {number}"
    return _NAMES.get(row, row)


def is_adapted(row: str) -> bool:
    """Tell whether a row adapts without target labels: neither the floor nor the ceiling."""
    return row not in {FLOOR, CEILING}


def headline_row(rows: Iterable[str]) -> str | None:
    """Choose the row a report speaks about: the last adapted one in reading order, None without any."""
    adapted = [row for row in row_order(rows) if is_adapted(row)]
    return adapted[-1] if adapted else None
