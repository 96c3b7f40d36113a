"""`diffuse-uda`: what a hospital does with a finished model, offline. Verbs over functions of the same names."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console
from rich.table import Table

from diffuse_uda.config import StudyConfig, preset
from diffuse_uda.data.intake import check_centre
from diffuse_uda.errors import DiffuseUdaError
from diffuse_uda.training.prediction import load_segmenter, predict_scan
from diffuse_uda.training.scoring import score_folders
from diffuse_uda.types import SiteRole

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130


@app.command()
def predict(
    scans: Annotated[list[Path], typer.Argument(help="NIfTI files, or folders of them.")],
    model: Annotated[Path, typer.Option(help="Folder of an adapted segmenter, such as runs/demo/segmenter.")],
    out: Annotated[Path, typer.Option(help="Folder for the label maps, one a scan, on the scan's own grid.")],
) -> None:
    """Segment scans with an adapted model."""
    console = Console()
    segmenter = load_segmenter(model)
    files = [file for scan in scans for file in (sorted(scan.glob("*.nii*")) if scan.is_dir() else [scan])]
    if not files:
        console.print(f"no NIfTI file in {', '.join(map(str, scans))}", style="red")
        raise typer.Exit(EXIT_REFUSED)
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        written = predict_scan(segmenter, file, out)
        console.print(f"{file.name} -> {written}", highlight=False, markup=False)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps.")],
    references: Annotated[Path, typer.Argument(help="Folder of reference label maps of the same names.")],
    labels: Annotated[Path | None, typer.Option(help="dataset.json that names the classes.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score predicted label maps against references: Dice, HD95, ASSD, NSD, each structure, in mm."""
    scores = score_folders(predictions, references, labels)
    if as_json:
        plain = {case: {name: asdict(score) for name, score in rows.items()} for case, rows in scores.items()}
        typer.echo(json.dumps(plain, indent=1))
        return
    table = Table("case", "structure", "Dice", "HD95 mm", "ASSD mm", "NSD", "status")
    for case, rows in scores.items():
        for name, score in rows.items():
            numbers = (score.dice, score.hd95_mm, score.assd_mm, score.nsd)
            cells = ["-" if number is None else f"{number:.3f}" for number in numbers]
            table.add_row(case, name, *cells, str(score.status))
    Console().print(table)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A centre's folder in the nnU-Net layout.")],
    role: Annotated[SiteRole, typer.Option(help="What the centre will be.")],
) -> None:
    """Let a centre's folder through the intake gate, and say everything that is wrong with it."""
    report = check_centre(folder, role, site_id=folder.resolve().name)
    console = Console()
    for warning in report.warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False)
    centre = report.centre
    console.print(f"{centre.site_id}: {len(centre.train)} training and {len(centre.test)} held-out scans are in order")


@app.command()
def config(
    study: Annotated[Path | None, typer.Option(help="A study file; without it, the preset as it is.")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="small or paper.")] = "small",
) -> None:
    """Print every configuration key with the value it has."""
    chosen = preset(preset_name) if study is None else StudyConfig.from_toml(study)
    for key, value in chosen.to_flat().items():
        typer.echo(f"{key} = {json.dumps(value)}")


def run_command_line(commands: typer.Typer) -> int:
    """Run a command line and turn its end into an exit code: neither a refusal nor Ctrl-C shows a traceback.

    Returns:
        0, or 2 for a refusal (its message is on standard error), or 130 after Ctrl-C.
    """
    console = Console(stderr=True)
    try:
        code = commands(standalone_mode=False)
    except DiffuseUdaError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return EXIT_REFUSED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code by itself
        console.print("stopped by Ctrl-C; what was finished is kept", highlight=False)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of `diffuse-uda`."""
    sys.exit(run_command_line(app))
