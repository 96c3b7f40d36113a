"""Verbs that hand something over: segmentations, the model itself, synthetic pairs."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diffuse_uda.export.forms import Form


def predict(
    scans: Annotated[list[Path], typer.Argument(help="NIfTI files, folders of them, or the folder of a DICOM series.")],
    model: Annotated[Path, typer.Option(help="Folder of an adapted segmenter, such as runs/demo/segmenter.")],
    out: Annotated[Path, typer.Option(help="Folder for the segmentations, one a scan, on the scan's own grid.")],
    form: Annotated[Form, typer.Option("--as", help="dicom-seg: for a DICOM series alone.")] = Form.NIFTI,
    *,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="DICOM without patient, study and their UIDs: no PACS can file it.")
    ] = False,
) -> None:
    """Segment scans with an adapted model."""
    from diffuse_uda.export.dicom_seg import Algorithm  # noqa: PLC0415 - highdicom, for those who predict
    from diffuse_uda.export.segmentations import scans_in, write_segmentation  # noqa: PLC0415
    from diffuse_uda.training.checkpoints import checkpoint_sha256  # noqa: PLC0415
    from diffuse_uda.training.prediction import load_segmenter  # noqa: PLC0415

    console = Console()
    segmenter = load_segmenter(model)
    files = [file for scan in scans for file in scans_in(scan)]
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        written = write_segmentation(
            segmenter,
            file,
            out,
            form=form,
            algorithm=Algorithm(name=segmenter.config.method, weights_sha256=checkpoint_sha256(model)),
            now=datetime.now(tz=UTC),
            secret=secrets.token_bytes(16),
            anonymous=anonymous,
        )
        console.print(f"{file.name} -> {written}", highlight=False, markup=False, soft_wrap=True)


def add_export_commands(app: typer.Typer) -> None:
    """Join these verbs to a command line."""
    app.command()(predict)
