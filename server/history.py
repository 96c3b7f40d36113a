"""What happened, as data: events while it happens, one JSON line for every finished round."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from diffuse_uda.types import ModelName

logger = logging.getLogger(__name__)

HISTORY_FILE = "history.jsonl"


class SiteState(StrEnum):
    """How a round ended for a site that was asked. Every asked site is in exactly one of these."""

    USED = "used"
    """Its reply counts."""
    FAILED = "failed"
    """It answered with an error; the reason is in its own log."""
    REJECTED = "rejected"
    """Its reply was not what was asked for, or would have spoilt the model."""
    LOST = "lost"
    """Its app stopped, or its node came and went, as often as it was asked."""
    SILENT = "silent"
    """It took the order and was then out of reach for longer than `federation.idle-timeout-s`."""
    OVERDUE = "overdue"
    """It was still within reach when `federation.round-timeout-s` was over."""
    ABSENT = "absent"
    """It was not there to take an order; it may come back in a later round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRecord:
    """One site's part in one round."""

    state: SiteState
    seconds: float
    """From the order to the reply, or to the end of waiting."""
    reason: str = ""
    """Why the reply was not used; sealed, so it says no more than the kind of error."""
    num_examples: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    bytes_sent: int = 0
    """To the site."""
    bytes_received: int = 0
    """From the site."""
    share: float = 0.0
    """Weight in the average; 0 where nothing is averaged."""
    sha256: str = ""
    """Of everything the site sent; empty if nothing came."""
    warnings: tuple[str, ...] = ()
    """What is odd about a reply that was used all the same."""
    num_sendings: int = 1
    """How often the order was sent; more than once to a site that crashed or went away over it, 0 to an absent one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundRecord:
    """One round: who took part, what travelled, how long it took."""

    phase: str
    """Label of the phase."""
    row: str
    """For an evaluation: the method whose scores these are."""
    model: ModelName
    server_round: int
    num_rounds: int
    num_tensors: int
    """Tensors of the model that went out."""
    sites: Mapping[str, SiteRecord]
    seconds: float
    seconds_at_work: float
    """The part of `seconds` in which at least one site was at work, by the sites' own clocks."""
    ignored: tuple[str, ...] = ()
    """Replies that came during the round and do not count: site, why (`server.mail.Ignored`), and the order's group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyStarted:
    """All sites have joined; the work begins."""

    name: str
    method: str
    site_ids: tuple[str, ...]
    num_rounds: int
    """Rounds of all phases together; of those that are left, if the study goes on from an earlier run."""
    run: str = field(default="", compare=False)
    """Name of the run, the same after it was interrupted and goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundStarted:
    """Orders are about to go out."""

    phase: str
    server_round: int
    num_rounds: int
    site_ids: tuple[str, ...]
    """The sites that were asked."""
    bases: Mapping[str, str] = field(default_factory=dict, compare=False)
    """SHA-256 of the weights that go out, by site."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteReplied:
    """One asked site is done, one way or another."""

    phase: str
    server_round: int
    site_id: str
    record: SiteRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundFinished:
    """A round is over; a phase is over with its last round."""

    record: RoundRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundSaved:
    """What a round changed is on disk: its model as `latest`, its scores, its line of history."""

    phase: str
    server_round: int
    num_rounds: int
    checkpoint: str
    """Name of the model that the phase trains, in the run's folder."""

    @property
    def ends_phase(self) -> bool:
        """Whether this was the phase's last round."""
        return self.server_round == self.num_rounds


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFinished:
    """Everything is done and written."""

    run_dir: Path
    seconds: float


Event = StudyStarted | RoundStarted | SiteReplied | RoundFinished | RoundSaved | StudyFinished
Listener = Callable[[Event], None]


def seconds_at_work(sites: Iterable[SiteRecord]) -> float:
    """Seconds in which at least one site was at work: the union of the intervals that end with each reply.

    A site tells how long it worked (`seconds` among its scalars); the rest of a round is machinery: packing, sending,
    waiting for the next look into the mailbox, checking, averaging.
    """
    intervals = sorted((max(site.seconds - site.metrics.get("seconds", 0.0), 0.0), site.seconds) for site in sites)
    total, end = 0.0, 0.0
    for start, stop in intervals:
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total


def log_event(event: Event) -> None:
    """Write the events an operator wants to read into the log: the listener when nobody brings another."""
    match event:
        case StudyStarted():
            sites = ", ".join(event.site_ids)
            logger.info("study %s: %s with %s, %d rounds", event.name, event.method, sites, event.num_rounds)
        case RoundFinished(record=record):
            states = ", ".join(f"{site_id} {site.state.value}" for site_id, site in record.sites.items())
            position = f"{record.server_round} of {record.num_rounds}"
            logger.info("%s, round %s: %s in %.1f s", record.phase, position, states, record.seconds)
        case StudyFinished():
            logger.info("done after %.0f s; everything is in %s", event.seconds, event.run_dir)
        case _:
            pass


def append_record(folder: Path, record: RoundRecord) -> None:
    """Add a round to `history.jsonl` and wait until it is on the disk.

    A crash can leave half a line at the end; the next record starts a new line, so that only that half is lost. A disk
    that does not take the line leaves the file as it was.
    """
    line = json.dumps(asdict(record), allow_nan=False)
    with (folder / HISTORY_FILE).open("ab+", buffering=0) as file:
        size = file.tell()
        if size and not _ends_with_newline(file.name):
            line = f"\n{line}"
        try:
            file.write(f"{line}\n".encode())
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise


def record_of(facts: Mapping[str, Any]) -> RoundRecord:
    """A round's record from what `asdict` made of it."""
    sites = {
        site_id: SiteRecord(**{**site, "state": SiteState(site["state"]), "warnings": tuple(site.get("warnings", ()))})
        for site_id, site in facts["sites"].items()
    }
    ignored = tuple(facts.get("ignored", ()))
    return RoundRecord(**{**facts, "model": ModelName(facts["model"]), "sites": sites, "ignored": ignored})


def _ends_with_newline(path: str) -> bool:
    with Path(path).open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
