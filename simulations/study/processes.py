"""Where a job works: in a process of its own, or here, for whoever wants to look into it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from diffuse_uda.errors import DiffuseUdaError
from simulations.study.job import Job, write_job
from simulations.study.worker import CONSOLE_WIDTH, EXIT_REFUSED, carry_out

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subprocess:
    """A job in a Python of its own. It ends when this process does, however that ends."""

    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        """Exit code, or None while it works."""
        return self.process.poll()

    def stop(self) -> None:
        """End it now and wait until it has ended."""
        self.process.kill()
        self.process.communicate()


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A job that was carried out before anybody asked."""

    code: int

    def poll(self) -> int:
        """Exit code."""
        return self.code

    def stop(self) -> None:
        """Nothing is left to end."""


def launch_process(job: Job, code: Path) -> Subprocess:
    """Start a job with one thread and a log of its own.

    It leaves the terminal's process group, so that Ctrl-C reaches the study alone; and it ends when its standard input
    closes, which happens whatever becomes of the study.

    Args:
        job: What to do.
        code: Root of the code to run.
    """
    file = job.run_dir.with_name(f"{job.run_dir.name}.json")
    write_job(file, job)
    paths = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
    with job.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this very Python and a file of ours
            [sys.executable, "-P", "-m", "simulations.study.worker", str(file)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    return Subprocess(process=process)


def launch_here(job: Job) -> Done:
    """Carry a job out in this process, with its log in the same place."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("w", encoding="utf-8") as log:
        console = Console(file=log, width=CONSOLE_WIDTH)
        try:
            carry_out(job, console)
        except DiffuseUdaError as error:
            console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
            return Done(code=EXIT_REFUSED)
    return Done(code=0)
