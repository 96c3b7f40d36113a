"""Verbs that hand something over: segmentations, the model itself, synthetic pairs."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diffuse_uda.export.forms import DatasetForm, Form, ModelForm

EXIT_COPIES = 6
"""Done, but somebody has to look: a rendered image was a copy of a scan, and was left out."""


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


def export(
    path: Annotated[Path, typer.Argument(metavar="RUN_OR_SEGMENTER", help="Folder of a run, or of a segmenter.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    site: Annotated[str | None, typer.Option(help="Whose segmenter of a run; without it, the shared one.")] = None,
    form: Annotated[list[ModelForm] | None, typer.Option("--as", help="Once or more; without it, all three.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, for the card.")] = None,
    labelled_by: Annotated[str | None, typer.Option(help="Who drew the references of its scores.")] = None,
) -> None:
    """Write an adapted model as MONAI bundle, safetensors and ONNX, each measured against the original, and a card."""
    from diffuse_uda.export.model_export import Owner, export_model  # noqa: PLC0415 - torch and MONAI, for exports

    card = export_model(
        path,
        out,
        forms=form or tuple(ModelForm),
        made_at=datetime.now(tz=UTC),
        site=site,
        owner=Owner(licence=licence, labelled_by=labelled_by),
    )
    for name, found in card["checks"].items():
        typer.echo(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in found.items())}")
    typer.echo(f"{out}: whole, and checked. Fill in the open fields of model_card.md before it goes anywhere")


def export_synthetic(
    workspace: Annotated[Path, typer.Argument(help="The site's private folder; only the site itself has it.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    *,
    model: Annotated[Path, typer.Option(help="Segmenter of the same run: names of classes, working grid.")],
    form: Annotated[DatasetForm, typer.Option("--as", help="Layout of the data set.")] = DatasetForm.NNUNET,
    suffix: Annotated[str, typer.Option(help="BIDS suffix of the images, such as T2w.")] = "image",
) -> None:
    """Write a site's synthetic pairs as a data set, marked as synthetic; exit code 6 if one was a copy of a scan."""
    from diffuse_uda.export.synthetic_export import export_pairs  # noqa: PLC0415 - torch, for exports

    sifted = export_pairs(workspace, out, model=model, form=form, suffix=suffix)
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(sifted.dropped.items())) or "none"
    typer.echo(f"{len(sifted.kept)} pairs written, dropped: {dropped}; nearest to a scan: {sifted.nearest:.3f}")
    if sifted.num_copies:
        typer.echo(
            "the generator has copied scans: train it for fewer steps, or on more scans; look at what else it made"
        )
        raise typer.Exit(EXIT_COPIES)


def add_export_commands(app: typer.Typer) -> None:
    """Join these verbs to a command line."""
    app.command()(predict)
    app.command()(export)
    app.command()(export_synthetic)
