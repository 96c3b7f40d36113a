"""One job in a process of its own: `python -m simulations.study.worker FILE` carries out what FILE says."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

from rich.console import Console

from diffuse_uda.errors import DiffuseUdaError
from simulations.study.engines import run_engine
from simulations.study.job import Job, read_job

CONSOLE_WIDTH = 200
EXIT_REFUSED = 2
EXIT_STOPPED = 130


def carry_out(job: Job, console: Console) -> None:
    """Run a job from its folders to its marker.

    Raises:
        DiffuseUdaError: As the engine raises it.
    """
    started = time.monotonic()
    found = run_engine(job, console)
    seconds = round(time.monotonic() - started, 3)
    job.finish({"seconds": seconds, "environment": dict(job.environment), **found})


def main(path: Path) -> int:
    """Carry out the job in a file; a refusal is one line in the log.

    Returns:
        Exit code: 0 if it is finished, 2 for a refusal.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    console = Console(width=CONSOLE_WIDTH, force_terminal=False)
    try:
        carry_out(read_job(path), console)
    except DiffuseUdaError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return EXIT_REFUSED
    return 0


def _end_with_parent() -> None:
    """Whoever started this process holds the other end of its standard input: when it closes, nobody waits for us.

    Everything on disk is whole at any moment, so there is nothing to tidy up.
    """
    while os.read(sys.stdin.fileno(), 1):  # not through Python's buffer, whose lock would outlive this thread
        pass
    os._exit(EXIT_STOPPED)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(Path(sys.argv[1])))
