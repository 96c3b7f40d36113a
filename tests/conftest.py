"""One thread for every test: results do not depend on the machine's cores. And what tests of faults have found."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # server, client and simulations are never installed

import pytest
import torch

from diffuse_uda.reporting.machine import describe_machine
from tests.fault_record import Shown, write_results

torch.set_num_threads(1)

_ROWS = "rows-of-faults"
"""Property of a report: which rows its test shows."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos", metavar="FOLDER", type=Path, help="run the tests of faults alone; what they find goes here"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("chaos") is None:
        return
    others = [item for item in items if not _rows(item) and item.get_closest_marker("chaos") is None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
    report: pytest.TestReport = yield  # type: ignore[assignment, misc]
    # a report travels to the process that writes; the item stays in the one that runs it
    report.user_properties = [*report.user_properties, (_ROWS, _rows(item))]
    return report  # type: ignore[return-value]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("chaos") is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Record(config.getoption("chaos")))


class _Record:
    """Keeps what tests of faults have shown, and writes it down at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown: list[Shown] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = dict(report.user_properties)
        rows = tuple(str(row) for row in cast("Sequence[object]", found.pop(_ROWS, ())))
        if rows and (report.when == "call" or report.outcome != "passed"):
            seconds = round(report.duration, 1)
            self._shown.append(
                Shown(rows=rows, test=report.nodeid, outcome=report.outcome, seconds=seconds, found=found)
            )

    def pytest_sessionfinish(self) -> None:
        write_results(self._folder, sorted(self._shown, key=lambda one: one.test), describe_machine())


def _rows(item: pytest.Item) -> tuple[str, ...]:
    return tuple(sorted({row for mark in item.iter_markers("fault") for row in mark.args}))
