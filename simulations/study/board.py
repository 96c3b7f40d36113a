"""How far the jobs of a study are: one line a job on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from simulations.study.job import Job

_TAIL_BYTES = 600
_SHOWN = 90


class StudyBoard(AbstractContextManager["StudyBoard"]):
    """Shows the jobs at work and the last line of each one's log."""

    def __init__(
        self,
        console: Console,
        num_jobs: int,
        *,
        after_each: Callable[[Job], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to `console`; `after_each` is called after every job that ended well."""
        self._console = console
        self._num_jobs = num_jobs
        self._after_each = after_each
        self._clock = clock
        self._began: dict[str, float] = {}
        self._num_ended = 0
        self._lines: dict[str, tuple[Job, TaskID]] = {}
        self._bars: Progress | None = None
        if console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bars = Progress(*columns, console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        """Start the display, if there is one."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the terminal as it was, whatever happened."""
        if self._bars is not None:
            self._bars.stop()

    def started(self, job: Job) -> None:
        """Give a job a line."""
        self._began[job.name] = self._clock()
        if self._bars is not None:
            self._lines[job.name] = job, self._bars.add_task(job.name, total=None)

    def look(self) -> None:
        """Show the last line of every log."""
        if self._bars is not None:
            for job, line in self._lines.values():
                self._bars.update(line, description=f"{job.name}: {last_line(job.log)[:_SHOWN]}")
            self._bars.refresh()

    def ended(self, job: Job, code: int) -> None:
        """Say how a job ended."""
        self._num_ended += 1
        if self._bars is not None:
            self._bars.remove_task(self._lines.pop(job.name)[1])
        seconds = self._clock() - self._began[job.name]
        how = "finished" if code == 0 else f"FAILED (exit code {code}); see {job.log}"
        self._say(f"[{self._num_ended}/{self._num_jobs}] {job.name} {how} after {seconds:.0f} s")
        if code == 0:
            self._after_each(job)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def last_line(log: Path) -> str:
    """The last line of a log that has something in it; empty if there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
