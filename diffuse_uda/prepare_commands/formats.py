"""`diffuse-uda prepare` for the formats that hospitals have: one centre, under new case names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffuse_uda.prepare_commands.options import (
    Channel,
    In,
    Labels,
    Name,
    NumDevelopment,
    NumTest,
    Out,
    Role,
    Seed,
    SkipBroken,
    Wish,
    Workers,
    pairs,
    planned,
    prepare,
    write,
)


@prepare.command()
def bids(
    root: In,
    out: Out,
    role: Role,
    name: Name,
    *,
    suffix: Annotated[str, typer.Option(help="Of the scans, such as T1w.")] = "T1w",
    entity: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the scans, such as ses=1.")] = None,
    derivative: Annotated[
        str | None, typer.Option(help="Folder in derivatives/ with the segmentations; a dot: beside the scans.")
    ] = None,
    label_entity: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the segmentations.")] = None,
    label: Labels = None,
    channel: Channel = "",
    num_test: NumTest = None,
    num_development: NumDevelopment = None,
    seed: Seed = 0,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """One centre from a BIDS tree, with segmentations from its derivatives."""
    from diffuse_uda.data.formats.bids import BidsChoice, list_bids  # noqa: PLC0415

    choice = BidsChoice(
        suffix=suffix, entities=pairs(entity), derivative=derivative, label_entities=pairs(label_entity)
    )
    wish = Wish(role, name, label, channel, num_test, num_development, seed)
    write(planned("bids", list_bids(root, choice), wish), out, [root], workers, skip_broken=skip_broken)


@prepare.command()
def msd(
    root: Annotated[Path, typer.Argument(metavar="IN", help="A data list, or the folder of a dataset.json.")],
    out: Out,
    role: Role,
    name: Name,
    *,
    fold: Annotated[int | None, typer.Option(help="Fold of MONAI's list to develop on.")] = None,
    label: Labels = None,
    channel: Channel = "",
    num_test: NumTest = None,
    num_development: NumDevelopment = None,
    seed: Seed = 0,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """One centre from the data list of the Decathlon or of MONAI."""
    from diffuse_uda.data.formats.msd import list_msd  # noqa: PLC0415

    wish = Wish(role, name, label, channel, num_test, num_development, seed)
    inputs = [root if root.is_dir() else root.parent]
    write(planned("msd", list_msd(root, fold=fold), wish), out, inputs, workers, skip_broken=skip_broken)


@prepare.command()
def nnunet(
    root: In,
    out: Out,
    role: Role,
    name: Name,
    *,
    label: Labels = None,
    channel: Channel = "",
    num_test: NumTest = None,
    num_development: NumDevelopment = None,
    seed: Seed = 0,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """One centre from a folder that is in the nnU-Net layout already: new names, headers, classes or parts."""
    from diffuse_uda.data.formats.nnunet_cases import list_nnunet  # noqa: PLC0415

    wish = Wish(role, name, label, channel, num_test, num_development, seed)
    write(planned("nnunet", list_nnunet(root), wish), out, [root], workers, skip_broken=skip_broken)


@prepare.command()
def folders(
    root: In,
    out: Out,
    role: Role,
    name: Name,
    *,
    image: Annotated[str, typer.Option(help="Path of a scan below IN, such as {case}/t1.nii.gz.")],
    label_map: Annotated[str | None, typer.Option(help="Path of its label map, such as {case}/seg.nii.gz.")] = None,
    label: Labels = None,
    channel: Channel = "",
    num_test: NumTest = None,
    num_development: NumDevelopment = None,
    seed: Seed = 0,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """One centre from plain folders of NIfTI files, by a pattern of their paths."""
    from diffuse_uda.data.formats.folders import list_folders  # noqa: PLC0415

    wish = Wish(role, name, label, channel, num_test, num_development, seed)
    write(planned("folders", list_folders(root, image, label_map), wish), out, [root], workers, skip_broken=skip_broken)


@prepare.command()
def dicom(
    root: In,
    out: Out,
    role: Role,
    name: Name,
    *,
    series: Annotated[list[str] | None, typer.Option(help="Series Instance UID, once or more.")] = None,
    description: Annotated[str, typer.Option(help="Pattern of the Series Description, with * and ?.")] = "*",
    modality: Annotated[str | None, typer.Option(help="CT, MR, ...")] = None,
    annotations: Annotated[
        Literal["seg", "rtstruct", "none"] | None, typer.Option(help="Where labels come from, if there are both.")
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option(help="Segment or region to read; the order gives the classes.")
    ] = None,
    label: Labels = None,
    channel: Channel = "",
    num_test: NumTest = None,
    num_development: NumDevelopment = None,
    seed: Seed = 0,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """One centre from DICOM: a case a study, one series of each, labels from DICOM-SEG or RTSTRUCT."""
    from diffuse_uda.data.formats.dicom import DicomChoice, list_dicom  # noqa: PLC0415

    choice = DicomChoice(
        series=tuple(series or ()),
        description=description,
        modality=modality,
        annotations=annotations,
        structures=tuple(structure or ()),
    )
    wish = Wish(role, name, label, channel, num_test, num_development, seed)
    listing = list_dicom(root, choice, progress=lambda count: typer.echo(f"{count} files looked at", err=True))
    write(planned("dicom", listing, wish), out, [root], workers, skip_broken=skip_broken)
