"""Options that commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.site import EVALUATION_PARTS, EvaluationPart
from diffuse_uda.types import Scalar

Data = Annotated[Path | None, typer.Option(help="Folder with one folder a centre: source*, target*.")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="A target folder to take; may be repeated.")]
Seed = Annotated[int, typer.Option(min=0)]
Runs = Annotated[Path, typer.Option(help="Folder of all runs.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever an interrupted run has left.")]
Part = Annotated[str, typer.Option(help="development; test only for a release; all.")]
Rows = Annotated[str, typer.Option(help="Only the runs that give these rows; comma-separated.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Jobs at a time; 0: in this process.")]
ResultsDir = Annotated[Path | None, typer.Option(help="Where tables go; results/<name>.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a configuration key.")
]


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read `0,1,2`."""
    try:
        numbers = tuple(int(item) for item in text.split(","))
    except ValueError:
        numbers = (-1,)
    if min(numbers) < 0 or len(set(numbers)) != len(numbers):
        msg = f"{option} {text!r}: wanted different whole numbers from 0, such as {option} 0,1,2"
        raise typer.BadParameter(msg)
    return numbers


def parse_part(text: str) -> EvaluationPart:
    """Read which held-out scans are scored."""
    for part in EVALUATION_PARTS:
        if text == part:
            return part
    msg = f"--part {text!r}: wanted one of {', '.join(EVALUATION_PARTS)}"
    raise typer.BadParameter(msg)


def parse_override(item: str) -> tuple[str, Scalar]:
    """Read `key=value`; the value is an integer, a number, true/false, or text."""
    key, separator, text = item.partition("=")
    if not separator:
        msg = f"--set {item!r}: wanted KEY=VALUE, such as --set adapt.num-rounds=4"
        raise typer.BadParameter(msg)
    if text in {"true", "false"}:
        return key, text == "true"
    for kind in (int, float):
        try:
            return key, kind(text)
        except ValueError:
            continue
    return key, text
