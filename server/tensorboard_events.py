"""Scalars of a run for TensorBoard: a view of the journal, in RUN_DIR/tensorboard, a folder for every site.

The folder is made anew from the journal's committed rounds whenever a run begins or goes on, so no point is ever there
twice, whatever a crash or a fall back to an earlier round has left. Rounds are counted over the whole run.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from server.history import Event, RoundFinished, RoundRecord, RoundSaved, StudyFinished, StudyStarted, record_of
from server.journal import JOURNAL_FILE, Happening, read_journal

logger = logging.getLogger(__name__)

FOLDER = "tensorboard"
FEDERATION = "federation"
"""Sub-folder of what belongs to no single site; no site may have this name in here, so sites' begin with `site-`."""
SITE = "site-"


def committed_rounds(run_dir: Path) -> list[tuple[float, RoundRecord]]:
    """Rounds that the journal has committed and no later fall back has undone, with the seconds since 1970 they ended.

    Raises:
        CheckpointError: If the journal is damaged.
    """
    entries, _ = read_journal(run_dir / JOURNAL_FILE)
    rounds: dict[int, tuple[float, RoundRecord]] = {}
    for entry in entries:
        match entry["event"]:
            case Happening.STARTED:
                rounds.clear()
            case Happening.RESUMED:
                rounds = {number: known for number, known in rounds.items() if number <= int(entry["number"])}
            case Happening.COMMITTED:
                at = datetime.fromisoformat(entry["time"]).timestamp()
                rounds[int(entry["number"])] = (at, record_of(entry["record"]))
            case _:
                pass
    return [rounds[number] for number in sorted(rounds)]


def scalars_of(record: RoundRecord) -> Iterator[tuple[str, str, float]]:
    """What is worth a curve: folder, tag and value. Of a site whose reply was not used, only bytes and seconds.

    Tags are `loss/<phase>` and alike for what a phase gives its own meaning, `exchange/...` for what all share.
    """
    yield FEDERATION, "exchange/seconds", record.seconds
    yield FEDERATION, "exchange/seconds-at-work", record.seconds_at_work
    yield FEDERATION, "exchange/used-sites", float(sum(site.state.value == "used" for site in record.sites.values()))
    yield FEDERATION, "exchange/to-sites-bytes", float(sum(site.bytes_sent for site in record.sites.values()))
    yield FEDERATION, "exchange/to-server-bytes", float(sum(site.bytes_received for site in record.sites.values()))
    for site_id, site in record.sites.items():
        folder = SITE + site_id
        yield folder, "exchange/seconds", site.seconds
        yield folder, "exchange/to-site-bytes", float(site.bytes_sent)
        yield folder, "exchange/to-server-bytes", float(site.bytes_received)
        for name, value in site.metrics.items():
            if name != "seconds":
                yield folder, f"{name}/{record.row or record.phase}", float(value)


class TensorBoardEvents:
    """A listener that writes committed rounds. A run never ends because of it: what fails is logged, once."""

    def __init__(self, run_dir: Path) -> None:
        """Write below `run_dir`; nothing happens, and TensorBoard isn't imported, before the study starts."""
        self._run_dir = run_dir
        self._write: Callable[[int, float, RoundRecord], None] | None = None
        self._number = 0
        self._finished: RoundRecord | None = None

    def __call__(self, event: Event) -> None:
        """Hear one event."""
        try:
            match event:
                case StudyStarted():
                    self._begin()
                case RoundFinished(record=record):
                    self._finished = record
                case RoundSaved() if self._write is not None and self._finished is not None:
                    self._number += 1
                    self._write(self._number, _now(), self._finished)
                case StudyFinished():
                    self._write = None
                case _:
                    pass
        except Exception as error:  # noqa: BLE001 - a chart is worth no run
            logger.warning("no more events for TensorBoard: %s: %s", type(error).__name__, error)
            self._write = None

    def _begin(self) -> None:
        folder = self._run_dir / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        self._write = event_writer(folder)
        before = committed_rounds(self._run_dir)
        for number, (at, record) in enumerate(before, start=1):
            self._write(number, at, record)
        self._number = len(before)


def event_writer(folder: Path) -> Callable[[int, float, RoundRecord], None]:
    """Make a function that adds a round to the files below a folder; every round is on the disk when it returns.

    TensorBoard's own form of a file, without the name of this machine in the file's.

    Raises:
        ImportError: If TensorBoard is not there.
    """
    event_of, summary_of, writer_of = _tensorboard()
    paths: dict[str, Path] = {}

    def write(number: int, at: float, record: RoundRecord) -> None:
        values: dict[str, list[tuple[str, float]]] = {}
        for place, tag, value in scalars_of(record):
            values.setdefault(place, []).append((tag, value))
        for place, found in values.items():
            events = []
            if place not in paths:
                (folder / place).mkdir(parents=True, exist_ok=True)
                paths[place] = folder / place / f"events.out.tfevents.{int(at):010d}.{number}"
                events.append(event_of(wall_time=at, file_version="brain.Event:2"))
            summary = summary_of(value=[summary_of.Value(tag=tag, simple_value=value) for tag, value in found])
            events.append(event_of(wall_time=at, step=number, summary=summary))
            with paths[place].open("ab") as file:  # a round takes minutes: nothing is kept open between two
                writer = writer_of(file)
                for event in events:
                    writer.write(event.SerializeToString())

    return write


def _tensorboard() -> tuple[Any, Any, Any]:
    """Three classes of TensorBoard; it takes a second to import, which no start and no site has to wait for."""
    events = importlib.import_module("tensorboard.compat.proto.event_pb2")
    summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
    records = importlib.import_module("tensorboard.summary.writer.record_writer")
    return events.Event, summaries.Summary, records.RecordWriter


def _now() -> float:
    return datetime.now().astimezone().timestamp()
