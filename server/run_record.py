"""A run's own record: the journal while a round goes on, a commit when it is over, the views that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffuse_uda.data.storage import written_patiently
from diffuse_uda.landmarks import Landmark, passing
from diffuse_uda.types import StateDict
from server.history import HISTORY_FILE, Event, RoundFinished, RoundRecord, RoundStarted, SiteReplied, append_record
from server.journal import PATIENCE_S, Happening, Journal
from server.resume import KEPT, Commit, commit_facts, show_commit
from server.round_checkpoints import NOTHING_TRAINED, RoundCheckpoint, keep_only, write_round_checkpoint
from server.run_folder import save_scores
from server.workflow import Step


@dataclass(kw_only=True)
class RunRecord:
    """Writes down one run; one round after another."""

    run_dir: Path
    journal: Journal
    facts: Mapping[str, Any]
    """For the manifests of checkpoints."""
    checkpoint: RoundCheckpoint = NOTHING_TRAINED
    """What the last committed round stands on."""
    kept: list[int] = field(default_factory=list)
    """Numbers of the checkpoints on the disk, oldest first."""
    patience_s: float = PATIENCE_S
    """Seconds to wait for a disk that is full or ill, each time."""

    def hear(self, event: Event) -> None:
        """Write down what happens in a round, before anything follows from it."""
        match event:
            case RoundStarted():
                place = {"phase": event.phase, "round": event.server_round, "rounds": event.num_rounds}
                self.journal.append(Happening.PLANNED, {**place, "bases": dict(event.bases)})
            case SiteReplied(record=site):
                place = {"phase": event.phase, "round": event.server_round, "site": event.site_id}
                said = {"state": site.state.value, "reason": site.reason, "payload": site.sha256}
                self.journal.append(Happening.REPLIED, {**place, **said})
            case RoundFinished(record=record):
                history = self.run_dir / HISTORY_FILE
                written_patiently(lambda: append_record(self.run_dir, record), history, patience_s=self.patience_s)
            case _:
                pass

    def commit(self, step: Step, changed: Mapping[str, StateDict], record: RoundRecord) -> None:
        """Make a round part of the run: checkpoint, journal, then everything that can be made from them again.

        Args:
            step: The round.
            changed: Models that it has changed, by the names of their checkpoints.
            record: What happened in it.

        Raises:
            StorageError: If the disk does not take it in time; the run can go on from the round before.
        """
        facts = {**self.facts, "phase": step.phase.label, "server_round": step.server_round}
        checkpoint = write_round_checkpoint(
            self.run_dir, step.number, changed, facts, self.checkpoint, patience_s=self.patience_s
        )
        commit = Commit(
            number=step.number,
            ends_phase=step.is_last,
            changed=tuple(changed),
            checkpoint=checkpoint,
            record=record,
        )
        passing(Landmark.BEFORE_COMMIT)
        self.journal.append(Happening.COMMITTED, commit_facts(commit, asdict(record)))
        passing(Landmark.AFTER_COMMIT)
        self.checkpoint = checkpoint
        if checkpoint.number not in self.kept:
            self.kept = [*self.kept, checkpoint.number][-KEPT:]
        written_patiently(lambda: self._show(commit), self.run_dir, patience_s=self.patience_s)

    def _show(self, commit: Commit) -> None:
        show_commit(self.run_dir, commit)
        save_scores(self.run_dir, commit.record)
        keep_only(self.run_dir, self.kept)
