"""The rows of a table: one for every method, in reading order, from the floor to the ceiling.

A row's name is a method's, with `-centralised` behind it for the same method with all data in one place, and with
`--change` behind that for an ablation: `diffuse-uda--no-cutmix` is Diffuse-UDA without CutMix.
"""

from __future__ import annotations

from collections.abc import Iterable

FLOOR = "source-only"
CEILING = "target-supervised"
CENTRALISED = "-centralised"
"""Suffix of a reference row: the method with the scans of every site in one place."""
ABLATION = "--"
"""Between the row that was changed and the change."""

_RANDOM_FLOOR = "source-only-random-conv"
_PASS = "diffuse-uda-pass-"  # noqa: S105 - a pass over the generator's phases
_ORDER = (
    FLOOR,
    _RANDOM_FLOOR,
    "shipped-and-adapted",
    "asc",
    "asc-plus",
    "recoloured",
    _PASS,
    "diffuse-uda",
    "mt-uda",
    "le-uda",
    "le-uda-recoloured",
    "le-uda-diffuse-uda",
    "*",
)
_NAMES = {
    FLOOR: "Source-only",
    _RANDOM_FLOOR: "Source-only + random conv.",
    "shipped-and-adapted": "Shipped and adapted",
    "asc": "ASC",
    "asc-plus": "ASC+",
    "recoloured": "Recoloured scans, no generator",
    "diffuse-uda": "Diffuse-UDA",
    "mt-uda": "MT-UDA",
    "le-uda": "LE-UDA",
    "le-uda-recoloured": "LE-UDA, then recoloured scans",
    "le-uda-diffuse-uda": "LE-UDA, then Diffuse-UDA",
    CEILING: "Target-supervised",
}
_SPELLINGS = {"fda": "FDA", "cutmix": "CutMix", "ddpm": "DDPM"}


def row_order(rows: Iterable[str]) -> list[str]:
    """Sort method rows for reading, each row once.

    Source-only comes first, then what a hospital could run, centralised references, target-supervised, and ablations
    last.
    """
    return sorted(set(rows), key=_key)


def _key(row: str) -> tuple[int, int, int, str]:
    method = federated_row(base_row(row))
    number = method.removeprefix(_PASS)
    if is_ablation(row):
        part = 3
    elif row == CEILING:
        part = 2
    else:
        part = int(is_centralised(row))
    if method.startswith(_PASS) and number.isdecimal():
        return part, _ORDER.index(_PASS), int(number), row
    return part, _ORDER.index(method if method in _ORDER else "*"), 0, row


def row_name(row: str) -> str:
    """Spell a method row as its paper does; an unknown row keeps its own name."""
    if is_ablation(row):
        return f"{row_name(base_row(row))}, {change_name(row)}"
    if is_centralised(row):
        return f"{row_name(federated_row(row))} (centralised)"
    number = row.removeprefix(_PASS)
    if row.startswith(_PASS) and number.isdecimal():
        return f"Diffuse-UDA, pass {number}"
    return _NAMES.get(row, row)


def is_ablation(row: str) -> bool:
    """Tell whether a row is another one with something changed."""
    return ABLATION in row


def base_row(row: str) -> str:
    """Give the row that an ablation changed; any other row is its own base."""
    return row.partition(ABLATION)[0]


def change_name(row: str) -> str:
    """Spell what an ablation changed; empty for any other row."""
    return " ".join(_SPELLINGS.get(word, word) for word in row.partition(ABLATION)[2].split("-"))


def is_centralised(row: str) -> bool:
    """Tell whether a row is a reference that had every site's scans in one place."""
    return base_row(row).endswith(CENTRALISED)


def federated_row(row: str) -> str:
    """Give the row that a centralised reference refers to; any other row is its own."""
    return row.removesuffix(CENTRALISED)


def is_adapted(row: str) -> bool:
    """Tell whether a row adapts without target labels: neither trained at the source alone nor the ceiling."""
    return row not in {FLOOR, _RANDOM_FLOOR, CEILING}


def headline_row(rows: Iterable[str]) -> str | None:
    """Choose the row a report speaks about: the last adapted one in reading order, None without any.

    Centralised references and ablations are never chosen: no hospital would run them.
    """
    adapted = [row for row in row_order(rows) if is_adapted(row) and not is_centralised(row) and not is_ablation(row)]
    return adapted[-1] if adapted else None
