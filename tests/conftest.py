"""One thread for every test: results do not depend on the machine's cores. And what tests of faults have found."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # server, client and simulations are never installed

import pytest
import torch

from diffuse_uda.reporting.machine import describe_machine
from tests.fault_record import Shown, write_results

torch.set_num_threads(1)

_SHOWN = pytest.StashKey[list[Shown]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--chaos", metavar="FOLDER", type=Path, help="run the tests of faults alone; what they find goes here"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SHOWN] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("chaos") is None:
        return
    others = [item for item in items if not _rows(item) and item.get_closest_marker("chaos") is None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
    report: pytest.TestReport = yield  # type: ignore[assignment, misc]
    if _rows(item) and (report.when == "call" or report.outcome != "passed"):
        item.config.stash[_SHOWN].append(
            Shown(
                rows=_rows(item),
                test=item.nodeid,
                outcome=report.outcome,
                seconds=round(report.duration, 1),
                found=dict(report.user_properties),
            )
        )
    return report  # type: ignore[return-value]


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = session.config.getoption("chaos")
    if folder is not None:
        shown = session.config.stash[_SHOWN]
        write_results(folder, shown, describe_machine())


def _rows(item: pytest.Item) -> tuple[str, ...]:
    return tuple(sorted({row for mark in item.iter_markers("fault") for row in mark.args}))
