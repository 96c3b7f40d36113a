"""`diffuse-uda prepare` for the papers' data sets as published: their centres, classes and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from diffuse_uda.prepare_commands.options import In, Out, SkipBroken, Workers, numbers, prepare, write
from diffuse_uda.types import SiteRole


@prepare.command()
def feta(
    root: In,
    out: Out,
    *,
    atlas: Annotated[Path | None, typer.Option(help="Folder of the atlas volumes, the papers' source.")] = None,
    atlas_image: Annotated[str, typer.Option(help="Pattern of the atlas scans.")] = "{case}_T2w.nii.gz",
    atlas_label_map: Annotated[str, typer.Option(help="Pattern of their label maps.")] = "{case}_dseg.nii.gz",
    atlas_label: Annotated[
        list[str] | None, typer.Option(metavar="TISSUE=N[,N]", help="Numbers in the atlas, where they differ.")
    ] = None,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """FeTA 2021 or 2022: atlas to FeTA, or without one, one reconstruction to the others."""
    from diffuse_uda.data.preparation.feta import Atlas, plan_feta  # noqa: PLC0415

    source = None
    if atlas is not None:
        source = Atlas(
            root=atlas, image_pattern=atlas_image, label_pattern=atlas_label_map, labels=numbers(atlas_label)
        )
    write(plan_feta(root, atlas=source), out, [root, *([atlas] if atlas else [])], workers, skip_broken=skip_broken)


@prepare.command()
def mmwhs(
    root: In,
    out: Out,
    *,
    source: Annotated[Literal["ct", "mr"], typer.Option(help="Modality of the source.")] = "ct",
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """MM-WHS 2017: cardiac CT to MR, or back."""
    from diffuse_uda.data.preparation.mmwhs import plan_mmwhs  # noqa: PLC0415

    write(plan_mmwhs(root, source=source), out, [root], workers, skip_broken=skip_broken)


@prepare.command()
def brats(
    root: In,
    out: Out,
    *,
    source: Annotated[Literal["flair", "t2"], typer.Option(help="Sequence of the source.")] = "flair",
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """BraTS 2020: the whole tumour, FLAIR to T2, or back."""
    from diffuse_uda.data.preparation.brats import plan_brats  # noqa: PLC0415

    write(plan_brats(root, source=source), out, [root], workers, skip_broken=skip_broken)


@prepare.command()
def chaos(
    root: In,
    out: Out,
    *,
    source: Annotated[
        Literal["ct", "t1dual", "t1dual-out", "t2spir"] | None, typer.Option(help="Scans of the source, if any.")
    ] = None,
    target: Annotated[
        Literal["ct", "t1dual", "t1dual-out", "t2spir"], typer.Option(help="Scans of the target.")
    ] = "t2spir",
    btcv_folder: Annotated[
        Path | None, typer.Option("--btcv", help="Folder of BTCV: its CT is the source; with --source, the target.")
    ] = None,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """CHAOS 2019: abdominal organs on MR; with --btcv, the papers' CT to MR."""
    from diffuse_uda.data.preparation.chaos import plan_chaos  # noqa: PLC0415

    plan = plan_chaos(root, source=source, target=target, btcv=btcv_folder)
    write(plan, out, [root, *([btcv_folder] if btcv_folder else [])], workers, skip_broken=skip_broken)


@prepare.command()
def btcv(
    root: In,
    out: Out,
    *,
    role: Annotated[SiteRole, typer.Option(help="Source for CT to MR, target for the reverse.")] = SiteRole.SOURCE,
    all_organs: Annotated[bool, typer.Option(help="All 13 organs, not only the four of CHAOS.")] = False,
    workers: Workers = 1,
    skip_broken: SkipBroken = False,
) -> None:
    """BTCV: abdominal CT, one centre."""
    from diffuse_uda.data.preparation.btcv import plan_btcv  # noqa: PLC0415

    write(plan_btcv(root, role=role, all_organs=all_organs), out, [root], workers, skip_broken=skip_broken)
