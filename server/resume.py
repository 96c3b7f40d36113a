"""A run that was interrupted: what its journal says, what of it is still whole, and whether this is the same study."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import CheckpointError, ConfigError
from diffuse_uda.exchange.envelopes import MOST_FALL_BACKS
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.plan import FREE
from diffuse_uda.types import StateDict
from server.history import HISTORY_FILE, RoundRecord, SiteState, append_record, record_of
from server.journal import JOURNAL_FILE, Entry, Happening, read_journal
from server.round_checkpoints import (
    NOTHING_TRAINED,
    RoundCheckpoint,
    keep_only,
    load_round_checkpoint,
    show_latest_only,
    show_models,
)
from server.run_folder import CHECKPOINTS, EVALUATION_FILE, SEGMENTER, SEGMENTERS, save_scores
from server.start import StartingPoint, starting_point_of

logger = logging.getLogger(__name__)

KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One round that is over."""

    number: int
    ends_phase: bool
    changed: tuple[str, ...]
    """Names of the models that the round changed."""
    checkpoint: RoundCheckpoint
    record: RoundRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """What a journal says about a run that has begun and not ended."""

    run: str
    description: Mapping[str, Any]
    """As `describe_study` and `describe_sites` made it."""
    commits: tuple[Commit, ...]
    """Rounds that count, in order."""
    fall_backs: int = 0
    """How often it has gone back behind rounds that had counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumption:
    """Where a run goes on."""

    start: StartingPoint
    commits: tuple[Commit, ...]
    """Rounds that stay."""
    damaged: tuple[str, ...]
    """What was found damaged and is done again."""
    fall_backs: int = 0
    """How often the run has gone back behind rounds that had counted, this time included."""

    @property
    def checkpoint(self) -> RoundCheckpoint:
        """What the next round stands on."""
        return self.commits[-1].checkpoint if self.commits else NOTHING_TRAINED


def describe_study(config: StudyConfig, start_from: Path | None) -> dict[str, Any]:
    """What the coordinator's own settings say that has to be the same when a run goes on, as JSON values."""
    return {
        "version": version("diffuse-uda"),
        "config": config.to_flat(),
        "start_from": None if start_from is None else str(start_from),
    }


def describe_sites(sites: Sequence[SiteCard]) -> dict[str, Any]:
    """Who takes part with what: the same when a run goes on, as JSON values."""
    return {
        "label_names": list(sites[0].label_names),
        "sites": {
            card.site_id: f"{card.role.value} with {card.num_cases} training and {card.num_test_cases} test cases"
            for card in sites
        },
    }


def unfinished_run(run_dir: Path) -> Unfinished | None:
    """What the journal of a folder says; None if there is none, or its run has ended.

    Raises:
        CheckpointError: If the journal is damaged anywhere but at its end.
    """
    entries, _ = read_journal(run_dir / JOURNAL_FILE)
    if not entries or _ends(entries):
        return None
    commits: list[Commit] = []
    fall_backs = 0
    for entry in entries:
        if entry["event"] == Happening.COMMITTED:
            commits.append(_commit_of(entry))
        elif entry["event"] == Happening.RESUMED:
            kept = [commit for commit in commits if commit.number <= entry["number"]]
            fall_backs += len(kept) < len(commits)
            commits = kept
    return Unfinished(
        run=entries[0]["run"],
        description=entries[0]["description"],
        commits=tuple(commits),
        fall_backs=fall_backs,
    )


def has_finished(run_dir: Path, description: Mapping[str, Any]) -> bool:
    """Whether the run in a folder has done all its rounds, and is this study (`describe_study`).

    Raises:
        CheckpointError: As `unfinished_run`.
    """
    entries, _ = read_journal(run_dir / JOURNAL_FILE)
    return _ends(entries) and not _differences(entries[0]["description"], description)


def is_finished(run_dir: Path) -> bool:
    """Whether the run in a folder has done all its rounds.

    Raises:
        CheckpointError: As `unfinished_run`.
    """
    return _ends(read_journal(run_dir / JOURNAL_FILE)[0])


def commit_facts(commit: Commit, record: Mapping[str, Any]) -> dict[str, Any]:
    """A commit as the journal says it; `record` is what `asdict` makes of its record."""
    return {
        "number": commit.number,
        "ends_phase": commit.ends_phase,
        "changed": list(commit.changed),
        "checkpoint": {"number": commit.checkpoint.number, "models": dict(commit.checkpoint.models)},
        "record": dict(record),
    }


def require_same_run(found: Unfinished, description: Mapping[str, Any]) -> None:
    """Refuse to go on with another study than the one that was begun.

    Args:
        found: The run that was begun.
        description: What is known by now, from `describe_study` or `describe_sites`.

    Raises:
        ConfigError: With everything that differs.
    """
    if problems := _differences(found.description, description):
        msg = (
            f"run {found.run} is unfinished after {len(found.commits)} rounds, and this is another one: "
            f"{'; '.join(problems)}. Start it as it was, choose another folder, or say that it shall be replaced "
            "(--fresh, or resume=false in the run-config)"
        )
        raise ConfigError(msg)


def find_resumption(run_dir: Path, found: Unfinished) -> Resumption:
    """Find the last committed round whose checkpoint is whole, and read its models.

    Raises:
        CheckpointError: If none of the checkpoints that are kept is whole, or if that happened more often than sites
            go back with a coordinator.
    """
    damaged: list[str] = []
    bad: set[int] = set()
    commits = list(found.commits)
    while commits:
        checkpoint = commits[-1].checkpoint
        if checkpoint.number not in bad:
            try:
                models = load_round_checkpoint(run_dir, checkpoint)
            except CheckpointError as error:
                bad.add(checkpoint.number)
                damaged.append(str(error))
                logger.warning("%s; going back to the round before", error)
            else:
                return _resumption(found, models, commits, damaged)
        commits.pop()
    if damaged:
        msg = f"run {found.run} cannot go on, no checkpoint is whole: {'; '.join(damaged)}. Begin anew (resume=false)"
        raise CheckpointError(msg)
    return _resumption(found, {}, [], damaged)


def restore_views(run_dir: Path, resumption: Resumption) -> None:
    """Make history, scores and `latest` say what the journal says; a crash may have come between them.

    What crashed processes were writing is deleted.
    """
    for name in (CHECKPOINTS, SEGMENTER, SEGMENTERS):
        for draft in (run_dir / name).rglob(".part-*.*"):
            draft.unlink(missing_ok=True)
    for draft in run_dir.glob(".part-*"):
        draft.unlink()
    for name in (HISTORY_FILE, EVALUATION_FILE):
        (run_dir / name).unlink(missing_ok=True)
    for commit in resumption.commits:
        append_record(run_dir, commit.record)
        save_scores(run_dir, commit.record)
    keep_only(run_dir, kept_numbers(resumption.commits))
    show_latest_only(run_dir, resumption.checkpoint)
    if resumption.commits:
        show_commit(run_dir, resumption.commits[-1])


def show_commit(run_dir: Path, commit: Commit) -> None:
    """Give what a committed round has changed its names in `latest` and, after a phase's last round, in the phase's."""
    for place in ("latest", commit.record.phase) if commit.ends_phase else ("latest",):
        show_models(run_dir, commit.checkpoint, place, commit.changed)


def kept_numbers(commits: Iterable[Commit]) -> list[int]:
    """Numbers of the checkpoints to keep: the newest, and the one to fall back to if that one is damaged."""
    return sorted({commit.checkpoint.number for commit in commits})[-KEPT:]


def last_used(commits: Iterable[Commit]) -> dict[str, int]:
    """Number of the last round in which each site's reply counted."""
    return {
        site_id: commit.number
        for commit in commits
        for site_id, site in commit.record.sites.items()
        if site.state is SiteState.USED
    }


def _ends(entries: Sequence[Entry]) -> bool:
    return bool(entries) and entries[-1]["event"] == Happening.FINISHED


def _differences(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    there, here = _spread(begun), _spread(wanted)
    known, free = tuple(f"{part}." for part in wanted), tuple(f"config.{key}" for key in FREE)
    return [
        f"{key.partition('.')[2]}: {there.get(key, 'not there')} in that run, {here.get(key, 'not there')} now"
        for key in sorted(there.keys() | here.keys())
        if key.startswith(known) and there.get(key) != here.get(key) and not key.startswith(free)
    ]


def _spread(description: Mapping[str, Any]) -> dict[str, str]:
    """One text for every key of a description: `config.adapt.num-rounds`, `sites.leeds`."""
    flat: dict[str, str] = {}
    for part, value in description.items():
        entries = value.items() if isinstance(value, Mapping) else [(part.replace("_", " "), value)]
        flat |= {f"{part}.{key}": str(entry) for key, entry in entries}
    return flat


def _resumption(
    found: Unfinished, models: Mapping[str, StateDict], commits: Sequence[Commit], damaged: Sequence[str]
) -> Resumption:
    fall_backs = found.fall_backs + (len(commits) < len(found.commits))
    if fall_backs > MOST_FALL_BACKS:
        msg = (
            f"run {found.run} cannot go on: {'; '.join(damaged)}. It has gone back behind finished rounds "
            f"{found.fall_backs} times, and no site goes back more often. Look into the disk, and begin anew "
            "(resume=false)"
        )
        raise CheckpointError(msg)
    return Resumption(
        start=starting_point_of(models, number=commits[-1].number if commits else 0),
        commits=tuple(commits),
        damaged=tuple(damaged),
        fall_backs=fall_backs,
    )


def _commit_of(entry: Entry) -> Commit:
    return Commit(
        number=entry["number"],
        ends_phase=entry["ends_phase"],
        changed=tuple(entry["changed"]),
        checkpoint=RoundCheckpoint(number=entry["checkpoint"]["number"], models=entry["checkpoint"]["models"]),
        record=record_of(entry["record"]),
    )
