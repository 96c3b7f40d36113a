"""`python -m client`: one hospital's site."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
import typer

from client.bundle_approval import approve as approve_bundle
from client.site_launcher import ask_hub, check_site, run_site, summary
from client.site_settings import SiteSettings
from diffuse_uda.command_line import EXIT_FAILED, run_command_line
from diffuse_uda.deployment.readiness import wait_until_serving
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.doctor.grpc_health import SERVING
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.flower_internals import app_bundle_sha256

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

SettingsFile = Annotated[Path, typer.Argument(metavar="SITE.TOML", help="See client/README.md.")]


@app.command()
def site(
    settings: SettingsFile,
    *,
    check: Annotated[bool, typer.Option("--check", help="Say whether it could start, and do not.")] = False,
) -> None:
    """Run the site: Flower's node under the hospital's rules, and its executor."""
    read = read_settings(settings, SiteSettings)
    if check:
        for warning in check_site(read, ask_hub(read), now=datetime.now(tz=UTC)):
            typer.echo(f"warning: {warning}")
        typer.echo(summary(read))
    elif not run_site(read, typer.echo):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def approve(
    checkout: Annotated[Path, typer.Argument(help="The code that somebody here has read.")],
    *,
    add_to: Annotated[Path | None, typer.Option(help="The hospital's list, as in approved-bundles.")] = None,
    note: Annotated[str, typer.Option(help="Who approved it, and why.")] = "",
) -> None:
    """Print the SHA-256 of the bundle that a checkout makes, and add it to the hospital's list."""
    try:
        sha256 = app_bundle_sha256(checkout)
    except ValueError as error:
        msg = f"{checkout} makes no app bundle: {error}"
        raise ConfigError(msg) from error
    typer.echo(sha256)
    if add_to is not None:
        added = approve_bundle(sha256, add_to, note=note or f"approved on {datetime.now(tz=UTC):%Y-%m-%d}")
        typer.echo(f"{'added to' if added else 'was already on'} {add_to}; it counts from the next run on", err=True)


@app.command()
def health(
    settings: SettingsFile,
    wait_s: Annotated[float, typer.Option(min=0.0, help="How long to go on asking.")] = 0.0,
) -> None:
    """Ask a running site's gRPC health services; the exit code is 0 if both serve."""
    read = read_settings(settings, SiteSettings)
    answers = wait_until_serving((read.health, read.executor_health), wait_s=wait_s)
    for address, answer in answers.items():
        typer.echo(f"{address}: {answer}")
    if set(answers.values()) != {SERVING}:
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Run the command line; a refusal is a message and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("diffuse_uda.deployment").setLevel(logging.INFO)
    sys.exit(run_command_line(app))


if __name__ == "__main__":
    main()
