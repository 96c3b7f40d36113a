"""Processes are found by what they were started with, whoever started them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulations.engines.own_processes import free_ports, kill_marked, marked_processes

MARK = "OWN_PROCESSES_TEST"
SLEEP = "import time; time.sleep(60)"
GRANDCHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"


@pytest.fixture
def family(tmp_path: Path) -> Iterator[str]:
    """A process and its child, which has a session of its own; the mark's value."""
    process = subprocess.Popen([sys.executable, "-c", GRANDCHILD], env={**os.environ, MARK: str(tmp_path)})
    while len(list(marked_processes(MARK, str(tmp_path)))) < 2:
        assert process.poll() is None
    yield str(tmp_path)
    process.kill()
    process.wait()


def test_a_killed_family_leaves_nobody(family: str) -> None:
    assert kill_marked(MARK, family) == 2
    assert list(marked_processes(MARK, family)) == []


def test_only_who_runs_a_program_is_found(family: str) -> None:
    both, child = set(marked_processes(MARK, family)), set(marked_processes(MARK, family, running="-c\0import time"))
    assert len(child) == 1
    assert child < both
    assert kill_marked(MARK, family) == 2


def test_other_marks_are_other_people_s(family: str) -> None:
    assert list(marked_processes(MARK, f"{family}/other")) == []
    assert list(marked_processes(MARK, family[:-1])) == []
    assert kill_marked(MARK, family) == 2


def test_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(1024 <= port < 65536 for port in ports)
