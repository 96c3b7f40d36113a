"""`python -m simulations rehearse` as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from simulations.engines.own_processes import marked_processes
from simulations.rehearsal.services import CHECKOUT, MARK

LIMIT_S = 1500
ASC = ("--set", "method=asc")
"""Two rounds of weights and two of scores: a message costs a process, and a process imports torch."""


def rehearse(*options: str, within: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """Rehearse; returns the verdict and what was printed behind it."""
    command = [*within, sys.executable, "-m", "simulations", "rehearse", "--json", "--limit-s", str(LIMIT_S), *options]
    done = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True, timeout=LIMIT_S + 300)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict, _, rest = done.stdout.partition("\n")
    return json.loads(verdict), rest


def left_processes(out: Path) -> list[int]:
    """Processes of a rehearsal that still run."""
    folders = [out / "hub", *(out / "sites").iterdir()]
    return [pid for folder in folders for pid in marked_processes(MARK, str(folder.resolve()))]
