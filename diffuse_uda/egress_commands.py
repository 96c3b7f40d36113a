"""Verbs about what crosses a site's wall: look at what would leave, check a log of what did, name a site's key."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffuse_uda.config import StudyConfig, preset
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.audit_check import check_log, differences
from diffuse_uda.exchange.signing import fingerprint, open_key
from diffuse_uda.types import SiteRole

EXIT_BROKEN = 1
"""A line of an audit log is not what was written."""
EXIT_DIFFERENT = 3
"""Both logs are whole, but one side has messages that the other has not."""

audit = typer.Typer(no_args_is_help=True, help="Hash-chained logs of what came in and went out.")


@audit.command()
def verify(
    log: Annotated[Path, typer.Argument(help="audit.jsonl of a site or of a server's run.")],
    other: Annotated[Path | None, typer.Option(help="The other side's log, to compare messages with.")] = None,
) -> None:
    """Find changed, removed, inserted, moved and cut-off lines; exit code 0, 1 (broken) or 3 (the sides differ)."""
    checked = {path: check_log(path) for path in (log, other) if path is not None}
    for path, found in checked.items():
        for finding in found.findings:
            typer.echo(f"{path}: {finding}")
        typer.echo(f"{path}: {found.num_entries} entries, {len(found.findings)} problems")
    if any(found.findings for found in checked.values()):
        raise typer.Exit(EXIT_BROKEN)
    if other is not None:
        unmatched = differences(checked[log], checked[other])
        for line in unmatched:
            typer.echo(line)
        typer.echo(f"{len(unmatched)} kinds of messages on one side only")
        if unmatched:
            raise typer.Exit(EXIT_DIFFERENT)


def site_key(
    file: Annotated[Path, typer.Argument(help="The site's signing key; made if it is not there.")],
) -> None:
    """Print the fingerprint of a site's signing key; the server logs it when the site introduces itself."""
    typer.echo(fingerprint(open_key(file).public))


def preview_egress(
    folder: Annotated[Path | None, typer.Argument(help="A centre's folder; needs --role. Or use --site.")] = None,
    *,
    site: Annotated[Path | None, typer.Option(help="The site's settings, site.toml.")] = None,
    role: Annotated[SiteRole | None, typer.Option(help="What the folder's centre would be.")] = None,
    study: Annotated[Path | None, typer.Option(help="A study file; without it, the preset small.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the very bytes of every message.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Do one round of every task on this site's scans and show exactly what would leave; nothing is sent."""
    if (source := site or folder) is None or (site is not None and folder is not None):
        msg = "name either a centre's folder with --role, or --site site.toml"
        raise ConfigError(msg)
    preview = _site_code("client.preview")
    config = preset("small") if study is None else StudyConfig.from_toml(study)
    with preview.opened_site(source, role) as opened:
        messages = list(preview.preview_egress(opened, config))
    if out is not None:
        preview.write_messages(messages, out)
    if as_json:
        typer.echo(preview.as_json(messages))
        return
    table = Table("message", "task", "bytes", "tensors", "largest norm", "scalars")
    for message in messages:
        facts = message.facts
        norms = [tensor["norm"] for tensor in facts.get("tensors", ())]
        said = facts.get("words") or ", ".join(f"{key} {value:.4g}" for key, value in facts.get("scalars", {}).items())
        largest = f"{max(norms):.4g}" if norms else "-"
        table.add_row(message.name, message.task, str(len(message.wire)), str(len(norms)), largest, said)
    Console().print(table)


def _site_code(name: str) -> ModuleType:
    """Import a module of the checkout: the code of a site is in no wheel, because it travels as a Flower app."""
    checkout = str(Path(__file__).resolve().parent.parent)
    if checkout not in sys.path:
        sys.path.append(checkout)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {name, name.partition(".")[0]}:
            raise
        msg = f"{name} is not in {checkout}: use the diffuse-uda of a checkout of the project (`make setup`)"
        raise ConfigError(msg) from None
