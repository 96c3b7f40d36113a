"""Keeps what a federated run has reached while it goes on, and gives the sites of a resumed run what they had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.data.links import link_tree
from server.history import Event, RoundSaved, StudyStarted
from server.run_folder import CHECKPOINTS, LATEST
from simulations.study.stages import ROUNDS, StageStore

EVERY = 2
"""Every second round of adaptation and refinement is kept, and the last one of a phase."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageKeeper:
    """A listener of the server's events."""

    run_dir: Path
    store: StageStore
    stages: Mapping[str, str]
    """Keys by the label of the phase."""
    start: str | None
    """Stage that the run goes on from."""
    scored_phases: frozenset[str]
    """Labels of the phases whose rounds are kept."""
    tell: Callable[[Event], None]
    """Whoever else listens."""

    def __call__(self, event: Event) -> None:
        """Act on one event, then pass it on."""
        match event:
            case StudyStarted() if self.start is not None:
                # The sites have introduced themselves, hence forgotten earlier runs, and no order is out yet.
                self.store.restore_sites(self.start, self.run_dir, event.run)
            case RoundSaved():
                if event.phase in self.scored_phases and (event.ends_phase or event.server_round % EVERY == 0):
                    link_tree(
                        self.run_dir / CHECKPOINTS / LATEST / event.checkpoint,
                        self.run_dir / ROUNDS / event.phase / str(event.server_round),
                    )
                if event.ends_phase:
                    self.store.keep(self.stages[event.phase], self.run_dir, event.phase)
            case _:
                pass
        self.tell(event)
