"""`diffuse-uda`: what a hospital does with a finished model, offline. Verbs over functions of the same names.

What takes seconds to import is imported by the verb that needs it: the others, and the workers of the intake gate,
which import this file once more, start without torch.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffuse_uda.command_line import EXIT_FAILED, run_command_line
from diffuse_uda.config import StudyConfig, preset
from diffuse_uda.deployment.trial_certificates import Trial, write_trial
from diffuse_uda.egress_commands import audit, preview_egress, site_key
from diffuse_uda.export_commands import add_export_commands
from diffuse_uda.intake_command import check, rules
from diffuse_uda.prepare_commands import prepare
from diffuse_uda.review_commands import report, verdicts
from diffuse_uda.site_code import site_code
from diffuse_uda.types import SiteRole

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted label maps.")],
    references: Annotated[Path, typer.Argument(help="Folder of reference label maps of the same names.")],
    labels: Annotated[Path | None, typer.Option(help="dataset.json that names the classes.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score predicted label maps against references: Dice, HD95, ASSD, NSD, each structure, in mm."""
    from diffuse_uda.training.scoring import score_folders  # noqa: PLC0415 - as above

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
def config(
    study: Annotated[Path | None, typer.Option(help="A study file; without it, the preset as it is.")] = None,
    preset_name: Annotated[str, typer.Option("--preset", help="small or paper.")] = "small",
    *,
    only_hash: Annotated[bool, typer.Option("--hash", help="Only the plan's hash, for a site's policy.")] = False,
) -> None:
    """Print every configuration key with the value it has."""
    from diffuse_uda.exchange.plan import plan_hash  # noqa: PLC0415 - as above

    chosen = preset(preset_name) if study is None else StudyConfig.from_toml(study)
    if only_hash:
        typer.echo(plan_hash(chosen))
        return
    for key, value in chosen.to_flat().items():
        typer.echo(f"{key} = {json.dumps(value)}")


@app.command()
def doctor(
    *,
    site: Annotated[Path | None, typer.Option(help="The site's settings, site.toml: everything in it.")] = None,
    study: Annotated[Path | None, typer.Option(help="Study file for the estimates; else the preset small.")] = None,
    data: Annotated[Path | None, typer.Option(help="This centre's folder; needs --role.")] = None,
    role: Annotated[SiteRole | None, typer.Option(help="What the centre will be.")] = None,
    workspace: Annotated[Path | None, typer.Option(help="The site's private folder.")] = None,
    hub: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the federation's hub listens.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The federation's CA (PEM).")] = None,
    cert: Annotated[Path | None, typer.Option(help="The hub's certificate (PEM), at the hub; needs --key.")] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="A private key, once or more: with --cert, the certificate's first; else a site's own."),
    ] = None,
    expected_fingerprint: Annotated[str | None, typer.Option(help="SHA-256 of the CA's or hub's certificate.")] = None,
    expected_federation: Annotated[str | None, typer.Option(help="Name that the hub must give.")] = None,
    health: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="A gRPC health service to ask.")] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Address that must be free, once or more; else a site's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
) -> None:
    """Say what would stop this machine in a federation, and what to do: PASS, WARN or FAIL for every check."""
    from diffuse_uda.doctor.address import parse_address  # noqa: PLC0415 - as above
    from diffuse_uda.doctor.examination import (  # noqa: PLC0415 - as above
        DEFAULT_LISTENING,
        Examination,
        examine,
        left_out,
    )
    from diffuse_uda.doctor.hub_verdicts import Expected  # noqa: PLC0415 - as above
    from diffuse_uda.doctor.page import WIDTH, page_json, page_text  # noqa: PLC0415 - as above
    from diffuse_uda.doctor.verdict import Status, overall  # noqa: PLC0415 - as above

    if data is not None and role is None:
        msg = "--data needs --role source or --role target"
        raise typer.BadParameter(msg)
    others = (data, role, workspace, hub, ca, cert, key, expected_fingerprint, expected_federation, health, listen)
    if site is not None and any(others):
        msg = "--site names all that there is to look at; give --study and --json beside it, or leave it out"
        raise typer.BadParameter(msg)
    if cert is not None and not key:
        msg = "--cert needs its --key"
        raise typer.BadParameter(msg)
    wanted = (
        site_code("client.site_examination").examination_of(site, study)
        if site is not None
        else Examination(
            study=study,
            data=data,
            role=role or SiteRole.TARGET,
            workspace=workspace,
            hub=None if hub is None else parse_address(hub),
            ca=ca,
            certificate=cert,
            keys=tuple(key or ()),
            expected=Expected(fingerprint=expected_fingerprint, federation=expected_federation),
            health=None if health is None else parse_address(health),
            listening=tuple(map(parse_address, listen)) if listen else DEFAULT_LISTENING,
        )
    )
    verdicts, skipped = examine(wanted), left_out(wanted)
    width = shutil.get_terminal_size(fallback=(WIDTH, 0)).columns
    typer.echo(page_json(verdicts, skipped) if as_json else page_text(verdicts, skipped, width=width))
    if overall(verdicts) is Status.FAIL:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def certs(
    out: Annotated[Path, typer.Argument(help="A new folder; each part of it goes to somebody else.")],
    hub_name: Annotated[list[str], typer.Option(help="Host name or IP address of the hub, once or more.")],
    site: Annotated[list[str], typer.Option(help="A site's id, once or more.")],
    days: Annotated[int, typer.Option(help="How long the certificates are valid.")] = 90,
) -> None:
    """Make certificates and keys for a trial federation: a CA, the hub's certificate, a key for every site."""
    trial = Trial(hub_names=tuple(hub_name), site_ids=tuple(site), days=days)
    for path in write_trial(out, trial, now=datetime.now(tz=UTC)):
        typer.echo(path)
    typer.echo("ca/ca.key stays with the coordinator, offline; a .key goes to nobody but its owner, and never by mail")


add_export_commands(app)
app.command()(check)
app.command()(rules)
app.add_typer(audit, name="audit")
app.add_typer(prepare, name="prepare")
app.command()(preview_egress)
app.command()(site_key)
app.command()(report)
app.command()(verdicts)


def main() -> None:
    """Entry point of `diffuse-uda`."""
    sys.exit(run_command_line(app))


if __name__ == "__main__":
    main()
