"""Progress in words: one plain line a round without a terminal."""

import io
from pathlib import Path

from rich.console import Console

from diffuse_uda.types import ModelName
from server.history import (
    RoundFinished,
    RoundRecord,
    RoundStarted,
    SiteRecord,
    SiteReplied,
    SiteState,
    StudyFinished,
    StudyStarted,
)
from simulations.progress import LiveProgress


def _play(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, no_color=True)
    times = iter([0.0, 10.0, 20.0, 30.0])
    site = SiteRecord(state=SiteState.USED, seconds=2.0, metrics={"loss": 0.5, "seconds": 1.9})
    record = RoundRecord(
        phase="adapt",
        row="",
        model=ModelName.SEGMENTER,
        server_round=1,
        num_rounds=1,
        num_tensors=3,
        sites={"leeds": site},
        seconds=2.5,
        seconds_at_work=2.0,
    )
    with LiveProgress(console, clock=lambda: next(times)) as progress:
        progress(StudyStarted(name="demo", method="asc", site_ids=("leeds",), num_rounds=4))
        progress(RoundStarted(phase="adapt", server_round=1, num_rounds=1, site_ids=("leeds",)))
        progress(SiteReplied(phase="adapt", server_round=1, site_id="leeds", record=site))
        progress(RoundFinished(record=record))
        progress(StudyFinished(run_dir=Path("runs/demo"), seconds=12.0))
    return out.getvalue()


def test_a_log_gets_one_line_a_round_with_phase_site_loss_and_time_left() -> None:
    # One of four rounds took ten seconds, so three more take about thirty.
    lines = _play(terminal=False).splitlines()
    assert lines[1] == "[   10 s, about   30 s left] adapt 1/1 2.5 s: leeds used loss 0.5"
    assert len(lines) == 3


def test_a_terminal_gets_bars_and_the_end_of_every_phase() -> None:
    shown = _play(terminal=True)
    assert "adapt 1/1" in shown
    assert "federation finished after 12 s" in shown
