"""Live progress of a simulated federation: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from server.history import Event, RoundFinished, RoundRecord, RoundStarted, SiteReplied, StudyFinished, StudyStarted


class LiveProgress(AbstractContextManager["LiveProgress"]):
    """A listener of the server's events. Rounds differ in length, so the time left follows the phases' own pace."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `console`; a console without a terminal gets one plain line a round."""
        self._console = console
        self._clock = clock
        self._started = clock()
        self._num_rounds = 0
        self._done = 0
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )
        self._task = None if self._bars is None else self._bars.add_task("waiting for the sites", total=None)

    def __enter__(self) -> Self:
        """Start the bars, if there are any."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the terminal as it was, whatever happened."""
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case StudyStarted():
                self._num_rounds = event.num_rounds
                self._say(f"{event.method}: {len(event.site_ids)} sites, {event.num_rounds} rounds")
                self._update(total=event.num_rounds)
            case RoundStarted():
                self._update(description=f"{event.phase} {event.server_round}/{event.num_rounds}")
            case SiteReplied():
                self._update(
                    description=f"{event.phase} {event.server_round}: {event.site_id} {_scalars(event.record.metrics)}"
                )
            case RoundFinished(record=record):
                self._done += 1
                self._update(advance=1)
                if self._bars is None or record.server_round == record.num_rounds:
                    self._say(f"{self._eta()} {_line(record)}")
            case StudyFinished():
                self._say(f"federation finished after {event.seconds:.0f} s")

    def _eta(self) -> str:
        elapsed = self._clock() - self._started
        left = elapsed / self._done * (self._num_rounds - self._done)
        return f"[{elapsed:5.0f} s, about {left:4.0f} s left]"

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _update(self, *, description: str | None = None, total: int | None = None, advance: int | None = None) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=description, total=total, advance=advance)


def _line(record: RoundRecord) -> str:
    sites = "; ".join(
        f"{site_id} {site.state.value} {_scalars(site.metrics)}".rstrip() for site_id, site in record.sites.items()
    )
    return f"{record.phase} {record.server_round}/{record.num_rounds} {record.seconds:.1f} s: {sites}"


def _scalars(metrics: Mapping[str, float]) -> str:
    """The scalars worth a line: no durations, those are in the line already."""
    return " ".join(f"{key} {value:.3g}" for key, value in metrics.items() if key != "seconds")
