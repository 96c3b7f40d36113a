"""`python -m server`: the hub of a federation."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
import typer

from diffuse_uda.command_line import EXIT_FAILED, EXIT_REFUSED, run_command_line
from diffuse_uda.deployment.readiness import wait_until_serving
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.doctor.address import parse_address
from diffuse_uda.doctor.grpc_health import SERVING
from diffuse_uda.exchange.flower_internals import app_bundle_sha256
from server.ending import read_ending
from server.hub import check_hub, run_flower, run_hub, summary
from server.hub_settings import HubSettings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

SettingsFile = Annotated[Path, typer.Argument(metavar="HUB.TOML", help="See server/README.md.")]


@app.command()
def hub(
    settings: SettingsFile,
    *,
    check: Annotated[bool, typer.Option("--check", help="Say whether it could start, and do not.")] = False,
) -> None:
    """Run the hub: Flower's server behind a gate, and its executor."""
    read = read_settings(settings, HubSettings)
    if check:
        for warning in check_hub(read, now=datetime.now(tz=UTC)):
            typer.echo(f"warning: {warning}")
        typer.echo(summary(read))
    elif not run_hub(read, typer.echo):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def health(
    settings: SettingsFile,
    wait_s: Annotated[float, typer.Option(min=0.0, help="How long to go on asking.")] = 0.0,
) -> None:
    """Ask a running hub's gRPC health services; the exit code is 0 if both serve."""
    read = read_settings(settings, HubSettings)
    answers = wait_until_serving(map(parse_address, (read.health, read.executor_health)), wait_s=wait_s)
    for address, answer in answers.items():
        typer.echo(f"{address}: {answer}")
    if set(answers.values()) != {SERVING}:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(run_dir: Annotated[Path, typer.Argument(help="Folder of the run, on the hub.")]) -> None:
    """Say how a run stands: completed 0, failed 1, refused 2, deserted 3, running 4, stopped 130, killed 137."""
    ending = read_ending(run_dir)
    if ending is None:
        typer.echo(f"{run_dir} holds no run")
        raise typer.Exit(EXIT_REFUSED)
    typer.echo(" ".join(part for part in (ending.end.value, ending.at, ending.reason) if part))
    raise typer.Exit(ending.exit_code)


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of the run, on the hub; the run may still go on.")],
    *,
    out: Annotated[Path | None, typer.Option(help="The page; without it, federation.html in the folder.")] = None,
    checkout: Annotated[
        Path | None, typer.Option(help="The code that the hospitals approved: its bundle's sum is shown.")
    ] = None,
) -> None:
    """Make the federation's page: sites, rounds, losses, bytes, refusals, sums; no image and no case."""
    from server.federation_report import write_federation_page  # noqa: PLC0415 - charts take seconds, a hub needs none

    bundle = "" if checkout is None else app_bundle_sha256(checkout)
    typer.echo(f"open {write_federation_page(run_dir, out=out, bundle=bundle)}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="",
)
def flwr(context: typer.Context, settings: SettingsFile) -> None:
    """Run Flower's command line against this hub: `python -m server flwr HUB.TOML supernode register leeds.pub`."""
    run_flower(read_settings(settings, HubSettings), context.args)


def main() -> None:
    """Run the command line; a refusal is a message and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("diffuse_uda.deployment").setLevel(logging.INFO)
    sys.exit(run_command_line(app))


if __name__ == "__main__":
    main()
