"""Jobs side by side, with processes that end when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulations.study.job import Job
from simulations.study.ladder import Engine
from simulations.study.schedule import run_jobs
from simulations.study.stages import StageStore


class _Process:
    def __init__(self, *, num_looks: int, code: int, at_end: Callable[[], None]) -> None:
        self._left = num_looks
        self._code = code
        self._at_end = at_end
        self.stopped = False

    def poll(self) -> int | None:
        self._left -= 1
        if self._left > 0:
            return None
        self._at_end()
        return self._code

    def stop(self) -> None:
        self.stopped = True


class _Board:
    def __init__(self) -> None:
        self.said: list[str] = []

    def started(self, job: Job) -> None:
        self.said.append(f"+{job.name}")

    def look(self) -> None:
        pass

    def ended(self, job: Job, code: int) -> None:
        self.said.append(f"-{job.name}:{code}")


def _job(folder: Path, name: str, volumes: int, stages: tuple[str, ...] = (), *, from_scratch: bool = False) -> Job:
    return Job(
        name=name,
        run=name,
        engine=Engine.FEDERATED,
        seed=0,
        flat={},
        folders=(),
        rows={},
        run_dir=folder / name,
        stages_dir=folder / "stages",
        stages={key: key for key in stages},
        key=name,
        volumes=volumes,
        from_scratch=from_scratch,
    )


def _keep(folder: Path, key: str) -> None:
    StageStore(folder=folder / "stages").keep(key, folder, key)


def _run(jobs: list[Job], workers: int, looks: dict[str, int], **after: Callable[[], None]) -> list[str]:
    board = _Board()
    run_jobs(
        jobs,
        workers=workers,
        launch=lambda job: _Process(num_looks=looks.get(job.name, 1), code=0, at_end=after.get(job.name, lambda: None)),
        board=board,
        sleep=lambda _seconds: None,
    )
    return board.said


def test_the_largest_begin_first_and_no_more_than_there_are_workers(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, "small", 1), _job(tmp_path, "large", 9), _job(tmp_path, "middle", 5)]
    said = _run(jobs, 2, {"large": 3, "middle": 2})
    assert said == ["+large", "+middle", "-middle:0", "+small", "-large:0", "-small:0"]


def test_a_job_waits_for_a_stage_that_another_one_is_computing(tmp_path: Path) -> None:
    jobs = [
        _job(tmp_path, "full", 9, ("warm", "adapt", "refine")),
        _job(tmp_path, "asc", 5, ("warm", "asc")),
        _job(tmp_path, "alone", 1, ("other",)),
    ]
    said = _run(jobs, 2, {"full": 3, "alone": 1}, alone=lambda: _keep(tmp_path, "warm"))
    # `alone` stands in for the moment at which `full` has kept its first stage
    assert said == ["+full", "+alone", "-alone:0", "+asc", "-asc:0", "-full:0"]


def test_a_job_that_begins_again_waits_for_nobody(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, "full", 9, ("warm",)), _job(tmp_path, "again", 5, ("warm", "x"), from_scratch=True)]
    assert _run(jobs, 2, {"full": 2})[:2] == ["+full", "+again"]


def test_a_failed_job_stops_no_other_and_who_waited_for_it_begins(tmp_path: Path) -> None:
    board = _Board()
    failed = run_jobs(
        [_job(tmp_path, "full", 9, ("warm",)), _job(tmp_path, "asc", 5, ("warm", "asc"))],
        workers=2,
        launch=lambda job: _Process(num_looks=1, code=2 if job.name == "full" else 0, at_end=lambda: None),
        board=board,
        sleep=lambda _seconds: None,
    )
    assert board.said == ["+full", "-full:2", "+asc", "-asc:0"]
    assert [job.name for job in failed] == ["full"]


def test_ctrl_c_stops_every_job(tmp_path: Path) -> None:
    processes = []

    def launch(_job: Job) -> _Process:
        processes.append(_Process(num_looks=100, code=0, at_end=lambda: None))
        return processes[-1]

    def press_ctrl_c(_seconds: float) -> None:
        raise KeyboardInterrupt

    jobs = [_job(tmp_path, "one", 1), _job(tmp_path, "two", 1)]
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, workers=2, launch=launch, board=_Board(), sleep=press_ctrl_c)
    assert [process.stopped for process in processes] == [True, True]
