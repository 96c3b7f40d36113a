"""A job in a process of its own, or here; either way its words go to its log and its end is an exit code."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from diffuse_uda.config import StudyConfig
from simulations.study.fingerprint import CHECKOUT
from simulations.study.frozen_code import freeze_code
from simulations.study.job import Job, read_job, write_job
from simulations.study.ladder import Engine
from simulations.study.processes import launch_here, launch_process
from simulations.study.worker import main

SLEEPER = """
import os, sys, threading, time
from simulations.study import started
if __name__ == "__main__":
    print(os.environ["OMP_NUM_THREADS"], sys.argv[1], started, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose data are not there."""
    return Job(
        name="seed-0/asc",
        run="asc",
        engine=Engine.FEDERATED,
        seed=0,
        flat=StudyConfig().to_flat(),
        folders=(tmp_path / "source", tmp_path / "target"),
        rows={"asc": "asc"},
        run_dir=tmp_path / "seed-0" / "asc",
        stages_dir=tmp_path / "stages",
        stages={"warm-up": "abc"},
        key="abc",
        volumes=7,
        environment={"cpu": "old"},
    )


def test_a_job_comes_out_of_a_file_as_it_went_in(job: Job, tmp_path: Path) -> None:
    write_job(tmp_path / "deep" / "job.json", job)
    assert read_job(tmp_path / "deep" / "job.json") == job
    assert job.config == StudyConfig()
    assert job.log == tmp_path / "seed-0" / "asc.log"


def test_only_its_own_marker_makes_a_job_finished(job: Job) -> None:
    assert job.marker == {}
    job.run_dir.mkdir(parents=True)
    (job.run_dir / "finished.json").write_text("{half")
    assert job.marker == {}
    job.finish({"seconds": 1.5})
    assert job.marker == {"key": "abc", "seconds": 1.5}
    (job.run_dir / "finished.json").write_text('{"key": "of another configuration"}')
    assert job.marker == {}
    job.forget()
    assert not job.run_dir.exists()


def test_a_refusal_is_a_line_in_the_log(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = launch_here(job)
    assert done.poll() == 2
    done.stop()
    assert "error: 2 problems in the input" in job.log.read_text()
    write_job(tmp_path / "job.json", job)
    assert main(tmp_path / "job.json") == 2
    assert "error: 2 problems in the input" in capsys.readouterr().out


def _pretend_code(tmp_path: Path, worker: str) -> Path:
    package = tmp_path / "code" / "simulations" / "study"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("started = 'from the copy'\n")
    (package / "worker.py").write_text(worker)
    return tmp_path / "code"


def test_a_process_runs_the_given_code_with_one_thread_until_it_is_stopped(job: Job, tmp_path: Path) -> None:
    process = launch_process(job, _pretend_code(tmp_path, SLEEPER))
    while not job.log.read_text():
        time.sleep(0.02)
    assert job.log.read_text().split(maxsplit=2) == ["1", str(job.run_dir) + ".json", "from the copy\n"]
    assert process.poll() is None
    process.stop()
    assert process.poll() is not None


def test_a_process_ends_when_nobody_holds_its_input(job: Job, tmp_path: Path) -> None:
    # The end of the real worker, without what it imports.
    source = (CHECKOUT / "simulations" / "study" / "worker.py").read_text()
    ending = source[source.index("def _end_with_parent") : source.index('if __name__ == "__main__"')]
    worker = f"import os, sys, threading, time\nEXIT_STOPPED = 130\n{ending}\n"
    worker += "threading.Thread(target=_end_with_parent, daemon=True).start()\ntime.sleep(60)\n"
    process = launch_process(job, _pretend_code(tmp_path, worker))
    assert process.process.stdin is not None
    process.process.stdin.close()
    assert process.process.wait(timeout=10) == 130


def test_the_frozen_code_replaces_an_older_copy(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "old.py").write_text("")
    root = freeze_code(tmp_path / "code")
    assert not (root / "old.py").exists()
    copied = (root / "simulations" / "study" / "worker.py").read_text()
    assert copied == (CHECKOUT / "simulations" / "study" / "worker.py").read_text()
    assert not list(root.rglob("__pycache__"))
