"""`python -m simulations`: whole federations on one machine."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffuse_uda.command_line import EXIT_FAILED, run_command_line
from diffuse_uda.config import StudyConfig
from diffuse_uda.reporting.machine import describe_command
from diffuse_uda.reporting.results import Results
from diffuse_uda.reporting.rows import row_name
from diffuse_uda.types import Scalar
from server.federation_report import PAGE as FEDERATION_PAGE
from simulations.bench import run_bench
from simulations.centres import check_centres, find_centres
from simulations.federation import Federation, run_federation, run_under_flower
from simulations.options import (
    Data,
    Fresh,
    Overrides,
    Part,
    ResultsDir,
    Rows,
    Runs,
    Seed,
    Targets,
    Workers,
    parse_numbers,
    parse_override,
    parse_part,
)
from simulations.phantom.cohort import write_cohort
from simulations.recipes import BUDGETS, DEMO, PHANTOM_SHAPE, PHANTOM_SPACING_MM, STUDY, working_grid
from simulations.rehearsal.plan import Kill, Rehearsal
from simulations.rehearsal.rehearse import rehearse
from simulations.study.budgets import carry_out_budgets
from simulations.study.cohorts import study_folders
from simulations.study.command import Wanted, carry_out_study
from simulations.study.plan import Study

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def demo(
    *,
    data: Data = None,
    name: Annotated[str, typer.Option(help="Name of the run; results go to <out>/<name>.")] = "demo",
    target: Targets = None,
    seed: Seed = 0,
    out: Runs = Path("runs"),
    references: Annotated[bool, typer.Option(help="Train target-supervised where labels lie aside.")] = True,
    fresh: Fresh = False,
    overrides: Overrides = None,
) -> None:
    """Run one federation from scans to report; without --data, on a procedural cohort."""
    console = Console()
    folders = phantom_centres(seed) if data is None else find_centres(data, target or ())
    source = check_centres(folders)[0]
    flat: dict[str, Scalar] = {**DEMO, **working_grid(source.files), "name": name, "seed": seed}
    flat.update(parse_override(item) for item in overrides or ())
    config = StudyConfig.from_flat(flat)
    command = describe_command(["python", "-m", "simulations", *sys.argv[1:]])
    federation = Federation(
        config=config,
        centre_folders=folders,
        run_dir=out / name,
        command=command,
        with_references=references,
        is_fresh=fresh,
    )
    results = run_federation(federation, console)
    print_table(results, console)
    _name_pages(federation.run_dir, console)


@app.command()
def flower(
    *,
    name: Annotated[str, typer.Option(help="Name of the run; results go to <out>/<name>.")] = "flower",
    seed: Seed = 0,
    out: Runs = Path("runs"),
    fresh: Fresh = False,
    overrides: Overrides = None,
) -> None:
    """Run the demo's federation under Flower's simulation engine, as `flwr run .` does, and clean up after it."""
    console = Console()
    changes: dict[str, Scalar] = {"name": name, "seed": seed, **dict(parse_override(item) for item in overrides or ())}
    command = describe_command(["python", "-m", "simulations", *sys.argv[1:]])
    results = run_under_flower(phantom_centres(seed), out / name, changes, command, console, is_fresh=fresh)
    print_table(results, console)
    _name_pages(out / name, console)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="brain4, brain4-pdw-t1, phantom, or any name with --data.")],
    *,
    data: Data = None,
    target: Targets = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0",
    part: Part = "development",
    rows: Rows = "",
    redo: Annotated[list[str] | None, typer.Option(help="Run the run that gives this row again.")] = None,
    ablations: Annotated[bool, typer.Option("--ablations", help="The ablations as well.")] = False,
    workers: Workers = None,
    out: Runs = Path("runs"),
    results: ResultsDir = None,
    keep_stages: Annotated[bool, typer.Option("--keep-stages", help="Keep what runs could go on from.")] = False,
    overrides: Overrides = None,
) -> None:
    """Compare every method on the same patients; finished jobs are not run again.

    NAME is brain4, brain4-pdw-t1 or phantom; with --data, any name.
    """
    console = Console()
    folders = study_folders(name, data, target or ())
    plan = _planned(name, folders, STUDY, seeds=seeds, part=part, out=out, overrides=overrides)
    wanted = Wanted(
        rows=[row for row in rows.split(",") if row],
        redo=redo or (),
        with_ablations=ablations,
        workers=(os.cpu_count() or 1) if workers is None else workers,
        keep_stages=keep_stages,
    )
    if carry_out_study(plan, wanted, results or Path("results") / name, console):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def budgets(
    name: Annotated[str, typer.Argument(help="le_uda, le_uda-pdw-t1, or any name with --data.")] = "le_uda",
    *,
    data: Data = None,
    target: Targets = None,
    numbers: Annotated[str, typer.Option("--budgets", help="Labelled source scans; comma-separated.")] = "1,2,4,8,16",
    take_apart_at: Annotated[str, typer.Option(help="Budgets at which LE-UDA's ablations run as well.")] = "",
    seeds: Annotated[str, typer.Option(help="Comma-separated; each is a draw of the labelled scans, too.")] = "0,1,2",
    part: Part = "development",
    rows: Rows = "",
    workers: Workers = None,
    out: Runs = Path("runs"),
    results: ResultsDir = None,
    overrides: Overrides = None,
) -> None:
    """Compare every method at several numbers of labelled source scans; finished jobs are not run again.

    NAME is le_uda or le_uda-pdw-t1; with --data, any name.
    """
    folders = study_folders(name, data, target or ())
    plan = _planned(name, folders, BUDGETS, seeds=seeds, part=part, out=out, overrides=overrides)
    wanted = Wanted(
        rows=[row for row in rows.split(",") if row], workers=(os.cpu_count() or 1) if workers is None else workers
    )
    apart = parse_numbers(take_apart_at, "--take-apart-at") if take_apart_at else ()
    where = results or Path("results") / name
    if carry_out_budgets(plan, parse_numbers(numbers, "--budgets"), wanted, where, Console(), take_apart_at=apart):
        raise typer.Exit(EXIT_FAILED)


def _planned(
    name: str,
    folders: Sequence[Path],
    recipe: Mapping[str, Scalar],
    *,
    seeds: str,
    part: str,
    out: Path,
    overrides: Sequence[str] | None,
) -> Study:
    centres = check_centres(folders)
    flat: dict[str, Scalar] = {**recipe, **working_grid(centres[0].files), "name": name}
    flat.update(parse_override(item) for item in overrides or ())
    return Study(
        name=name,
        config=StudyConfig.from_flat(flat),
        centres=tuple(centres),
        seeds=parse_numbers(seeds, "--seeds"),
        part=parse_part(part),
        out=out / name,
        command=describe_command(["python", "-m", "simulations", *sys.argv[1:]]),
    )


@app.command(name="rehearse")
def rehearse_command(
    *,
    seed: Seed = 0,
    targets: Annotated[int, typer.Option(min=1, help="Sites beside the source.")] = 1,
    kill: Annotated[list[Kill] | None, typer.Option(help="Kill it at work and start it again; repeat.")] = None,
    out: Annotated[Path | None, typer.Option(help="New folder; otherwise a temporary one, gone after success.")] = None,
    limit_s: Annotated[float, typer.Option(min=60.0, help="Longest time of the run, in seconds.")] = 1800.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, progress to standard error.")] = False,
    overrides: Overrides = None,
) -> None:
    """Run a federation as in hospitals: processes, TLS, keys; it has to end with the weights of one process."""
    folder = Path(tempfile.mkdtemp(prefix="rehearsal-")) if out is None else out
    changes = dict(parse_override(item) for item in overrides or ())
    plan = Rehearsal(
        folder=folder, seed=seed, num_targets=targets, changes=changes, kills=tuple(kill or ()), limit_s=limit_s
    )
    try:
        verdict = rehearse(plan, lambda line: typer.echo(line, err=True))
    except BaseException:
        typer.echo(f"everything is kept in {folder}", err=True)
        raise
    if as_json:
        typer.echo(json.dumps(verdict.as_json()))
    else:
        same = "the same weights" if verdict.weights_identical else f"other weights: {', '.join(verdict.differing)}"
        typer.echo(f"{verdict.status.value} after {verdict.seconds['run']:.0f} s, {verdict.rounds} rounds: {same}")
    if not verdict.weights_identical:
        typer.echo(f"everything is kept in {folder}", err=True)
        raise typer.Exit(EXIT_FAILED)
    if out is None:
        shutil.rmtree(folder)


@app.command()
def bench() -> None:
    """Measure what the federation machinery costs: memory of aggregation, time beside training."""
    run_bench(Console())


def phantom_centres(seed: int) -> list[Path]:
    """Folders of the procedural cohort; written on first use."""
    folder = Path("cohorts") / f"phantom-{seed}"
    return write_cohort(folder, seed=seed, shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM)


def _name_pages(run_dir: Path, console: Console) -> None:
    """Each on one line, however narrow the terminal is: a path is there to be copied."""
    console.print(f"\nopen {run_dir / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"and {run_dir / FEDERATION_PAGE}, the coordinator's page", highlight=False, soft_wrap=True)


def print_table(results: Results, console: Console) -> None:
    """Print Dice and HD95 of every target and method."""
    table = Table(title="Dice % / HD95 mm on held-out scans")
    table.add_column("target")
    for row in results["rows"]:
        table.add_column(row_name(row), justify="right")
    for site_id, lines in results["targets"].items():
        cells = [_cell(lines.get(row)) for row in results["rows"]]
        table.add_row(site_id, *cells)
    means = [results["summary"][row]["dice_mean"] for row in results["rows"]]
    table.add_row("mean", *("-" if mean is None else f"{100 * mean:.1f}" for mean in means), style="bold")
    console.print(table)


def _cell(line: dict[str, float | None] | None) -> str:
    if line is None or line["dice"] is None:
        return "-"
    distance = "-" if line["hd95_mm"] is None else f"{line['hd95_mm']:.1f}"
    return f"{100 * line['dice']:.1f} / {distance}"


def main() -> None:
    """Run the command line; a refusal is a message and exit code 2, Ctrl-C is 130, neither is a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run_command_line(app))


if __name__ == "__main__":
    main()
