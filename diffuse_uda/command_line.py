"""How every command of this project ends: a refusal is a message and an exit code, never a traceback."""

from __future__ import annotations

import click
import typer
from rich.console import Console

from diffuse_uda.errors import DiffuseUdaError, QuorumError

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_DESERTED = 3
EXIT_LOOK = 6
"""It goes on, but somebody should look."""
EXIT_INTERRUPTED = 130


def run_command_line(commands: typer.Typer) -> int:
    """Run a command line and turn its end into an exit code: neither a refusal nor Ctrl-C shows a traceback.

    Returns:
        0, or 2 for a refusal and 3 where too few sites came or replied (the message is on standard error), or 130 after
        Ctrl-C.
    """
    console = Console(stderr=True)
    try:
        code = commands(standalone_mode=False)
    except QuorumError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return EXIT_DESERTED
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
