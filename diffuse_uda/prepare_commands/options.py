"""Options that the commands of `prepare` share, and what they all do in the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole

if TYPE_CHECKING:  # a command imports what reads its format, and no other command waits for that
    from diffuse_uda.data.formats.contract import Listing
    from diffuse_uda.data.preparation.plan import PreparationPlan

EXIT_WITH_WARNINGS = 6
"""Everything is written but for what was left out."""

prepare = typer.Typer(no_args_is_help=True, help="Centre folders from BIDS, MSD, DICOM, plain folders, data sets.")

In = Annotated[Path, typer.Argument(metavar="IN", help="The data set's folder; nothing is written there.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder elsewhere; source_... and target_... go there.")]
Role = Annotated[SiteRole, typer.Option(help="What the centre will be.")]
Name = Annotated[str, typer.Option(help="The centre's folder will be ROLE_NAME.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=N[,N]", help="A structure and its numbers; the order gives the classes."),
]
Channel = Annotated[str, typer.Option(help="Modality or sequence, where the data set does not say.")]
NumTest = Annotated[int | None, typer.Option(help="People to test on, drawn by --seed, instead of the own split.")]
NumDevelopment = Annotated[int | None, typer.Option(help="People to make choices on, likewise.")]
Seed = Annotated[int, typer.Option(help="Of the draw, and of the new case names.")]
Workers = Annotated[int, typer.Option(help="Processes; 0 for one a core.")]
SkipBroken = Annotated[bool, typer.Option(help="Leave broken cases out and exit with 6, instead of writing nothing.")]


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of one centre, as they are given."""

    role: SiteRole
    name: str
    labels: list[str] | None
    channel: str
    num_test: int | None
    num_development: int | None
    seed: int


def planned(layout: str, listing: Listing, wish: Wish) -> PreparationPlan:
    """Plan the centre that the options describe."""
    from diffuse_uda.data.preparation.centre import CentreWish, plan_centre  # noqa: PLC0415
    from diffuse_uda.data.preparation.splits import HeldOut  # noqa: PLC0415

    has_split = wish.num_test is not None or wish.num_development is not None
    held_out = HeldOut(num_test=wish.num_test or 0, num_development=wish.num_development or 0) if has_split else None
    return plan_centre(
        layout,
        listing,
        CentreWish(
            role=wish.role,
            name=wish.name,
            labels=numbers(wish.labels),
            channel_name=wish.channel,
            held_out=held_out,
            seed=wish.seed,
        ),
    )


def write(plan: PreparationPlan, out: Path, inputs: Sequence[Path], workers: int, *, skip_broken: bool = False) -> None:
    """Write a plan and say what was written, what was left out, and what comes next."""
    from diffuse_uda.data.preparation.writing import write_centres  # noqa: PLC0415

    if workers < 0:
        msg = f"--workers {workers}: wanted 0 (one a core) or more"
        raise ConfigError(msg)
    for note in plan.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"split: {plan.split}")
    prepared = write_centres(
        plan,
        out,
        inputs,
        num_workers=workers or os.cpu_count() or 1,
        skip_broken=skip_broken,
        progress=lambda done, total: typer.echo(f"{done} of {total} cases", err=True),
    )
    for finding in prepared.left_out:
        typer.echo(f"left out: {finding}")
    if prepared.case_names is not None:
        typer.echo(f"{prepared.case_names} says which case is whose: it is for this site alone")
    for folder in prepared.centres:
        role = folder.name.split("_", maxsplit=1)[0]
        typer.echo(f"{folder} is ready: diffuse-uda check {folder} --role {role}")
    if prepared.left_out:
        raise typer.Exit(EXIT_WITH_WARNINGS)


def pairs(texts: Sequence[str] | None) -> dict[str, str]:
    """Read KEY=VALUE options.

    Raises:
        ConfigError: If one has another form, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        key, sign, value = text.partition("=")
        if not (key and sign and value) or key in found:
            msg = f"option {text!r}: wanted KEY=VALUE, every key once"
            raise ConfigError(msg)
        found[key] = value
    return found


def numbers(texts: Sequence[str] | None) -> Mapping[str, tuple[int, ...]]:
    """Read NAME=NUMBER[,NUMBER] options, in their order.

    Raises:
        ConfigError: If one has another form, or a name comes twice.
    """
    try:
        return {name: tuple(int(number) for number in value.split(",")) for name, value in pairs(texts).items()}
    except ValueError as error:
        msg = f"labels {list(texts or ())}: wanted NAME=NUMBER or NAME=NUMBER,NUMBER"
        raise ConfigError(msg) from error
