"""Verbs about what crosses a site's wall: look at what would leave, check a log of what did, name a site's key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from diffuse_uda.config import StudyConfig, preset
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.audit_check import check_log, differences
from diffuse_uda.exchange.signing import fingerprint, open_key
from diffuse_uda.site_code import site_code
from diffuse_uda.types import SiteRole

WIDEST = 118
"""Characters of a line of text."""
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
        side = " and ".join(sorted(found.sides)) or "nobody"
        typer.echo(f"{path}: log of a {side}, {found.num_entries} entries, {len(found.findings)} problems")
        for finding in found.findings:
            typer.echo(f"  {finding}")
        for site, keys in found.keys.items():
            typer.echo(f"  messages of {site} are signed with {', '.join(map(_short, sorted(keys)))}")
    if any(found.findings for found in checked.values()):
        typer.echo("BROKEN: keep both files as they are, and find out who touched them")
        raise typer.Exit(EXIT_BROKEN)
    if other is None:
        typer.echo("WHOLE in itself. Whether somebody cut its end and wrote the head anew, --other alone can tell.")
        return
    unmatched = differences(checked[log], checked[other])
    for line in unmatched:
        typer.echo(f"  {line}")
    if unmatched:
        typer.echo(
            "DIFFERENT: both logs are whole, but one has messages that the other has not. A message that got lost on "
            "the way looks so, and so does one that was removed."
        )
        raise typer.Exit(EXIT_DIFFERENT)
    typer.echo("WHOLE, and both sides tell the same")


def _short(key: str) -> str:
    try:
        return fingerprint(bytes.fromhex(key))
    except ValueError:
        return "no key"


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
    preview = site_code("client.preview")
    config = preset("small") if study is None else StudyConfig.from_toml(study)
    with preview.opened_site(source, role) as opened:
        messages = []
        for message in preview.preview_egress(opened, config):
            typer.echo(f"{message.name} done", err=True)  # tasks take seconds to minutes each
            messages.append(message)
        if out is not None:
            preview.write_messages(messages, out)
        if as_json:
            typer.echo(preview.as_json(messages))
            return
        width = min(shutil.get_terminal_size(fallback=(WIDEST, 0)).columns, WIDEST)
        typer.echo(site_code("client.preview_page").page(messages, opened, config, width=width))
