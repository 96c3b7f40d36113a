"""How far the jobs are, on a terminal and in a log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from simulations.study.board import StudyBoard, last_line
from simulations.study.job import Job
from simulations.study.ladder import Engine
from simulations.study.ladder_table import print_ladder


def _job(folder: Path) -> Job:
    return Job(
        name="seed-0/asc",
        run="asc",
        engine=Engine.FEDERATED,
        seed=0,
        flat={},
        folders=(),
        rows={},
        run_dir=folder / "asc",
        stages_dir=folder,
        stages={},
        key="",
        volumes=1,
    )


@pytest.mark.parametrize("is_terminal", [True, False])
def test_every_end_is_a_line_and_only_a_good_one_brings_results(*, is_terminal: bool, tmp_path: Path) -> None:
    job, out = _job(tmp_path), io.StringIO()
    good: list[Job] = []
    job.log.write_text("adapt 3/8\n\n")
    times = iter([10.0, 13.0, 20.0, 24.0])
    console = Console(file=out, force_terminal=is_terminal, width=120)
    with StudyBoard(console, 2, after_each=good.append, clock=lambda: next(times)) as board:
        board.started(job)
        board.look()
        board.ended(job, 0)
        board.started(job)
        board.ended(job, 2)
    assert good == [job]
    assert "[1/2] seed-0/asc finished after 3 s" in out.getvalue()
    assert f"[2/2] seed-0/asc FAILED (exit code 2); see {job.log} after 4 s" in out.getvalue()
    assert ("seed-0/asc: adapt 3/8" in out.getvalue()) is is_terminal


def test_the_last_line_of_a_log_is_the_last_one_with_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_text("")
    assert last_line(log) == ""
    log.write_text("x" * 5000 + "\n  last \n \n")
    assert last_line(log) == "last"


def test_the_ladder_on_a_terminal_shows_percent_and_dashes() -> None:
    results = {
        "part": "development",
        "seeds": [0, 1],
        "rows": ["source-only", "asc"],
        "targets": {"leeds": {"source-only": {"dice": 0.5}, "asc": {"dice": 0.625}}, "york": {"asc": {"dice": None}}},
        "summary": {
            "source-only": {"dice_mean": 0.5, "gap_closed_mean": 0.0},
            "asc": {"dice_mean": 0.625, "gap_closed_mean": None},
        },
    }
    out = io.StringIO()
    print_ladder(results, Console(file=out, width=100))
    lines = [" ".join(line.replace("│", " ").split()) for line in out.getvalue().splitlines()]
    assert "Dice % on the development part; seeds 0, 1" in lines
    assert "Source-only 50.0 - 50.0 0.0" in lines
    assert "ASC 62.5 - 62.5 -" in lines
