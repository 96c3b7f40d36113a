"""What accepted updates looked like, so that later ones of the phase can be compared with them: `accepted.jsonl`.

One line an update: how far every tensor moved, divided by the round's sum of learning rates. No weights. The file is
written before a round is committed and read by rounds after it, so a run that goes on after a crash judges as the one
that was interrupted would have.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffuse_uda.data.storage import written_patiently
from server.journal import PATIENCE_S

ACCEPTED_FILE = "accepted.jsonl"
ROUNDS_REMEMBERED = 20
"""Rounds of the phase that later ones are compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """One accepted update."""

    phase: str
    server_round: int
    site_id: str
    norm: float
    """Of the whole change, over the sum of learning rates."""
    tensors: Mapping[str, float]
    """The same for every trained tensor."""


@dataclass(kw_only=True)
class AcceptedUpdates:
    """The accepted updates of one run, newest phase in memory."""

    folder: Path
    _phase: str = ""
    _known: dict[tuple[int, str], Accepted] = field(default_factory=dict)

    def before(self, phase: str, server_round: int) -> list[Accepted]:
        """Accepted updates of a phase's earlier rounds, oldest first; later ones belong to rounds that were undone."""
        if phase != self._phase:
            self._phase, self._known = phase, _read(self.folder / ACCEPTED_FILE, phase)
        first = server_round - ROUNDS_REMEMBERED
        return [self._known[key] for key in sorted(self._known) if first <= key[0] < server_round]

    def add(self, updates: list[Accepted]) -> None:
        """Remember the updates of a round and wait until they are on the disk.

        Raises:
            StorageError: If the disk does not take them in time.
        """
        if not updates:
            return
        text = "".join(json.dumps(_facts(update)) + "\n" for update in updates)
        path = self.folder / ACCEPTED_FILE

        def write() -> None:
            with path.open("ab") as file:
                file.write(f"\n{text}".encode())  # after half a line, if a crash or a full disk has left one
                file.flush()
                os.fsync(file.fileno())

        written_patiently(write, path, needed_bytes=len(text), patience_s=PATIENCE_S)
        self._known |= {(update.server_round, update.site_id): update for update in updates}


def _facts(update: Accepted) -> dict[str, object]:
    return {
        "phase": update.phase,
        "server_round": update.server_round,
        "site_id": update.site_id,
        "norm": update.norm,
        "tensors": dict(update.tensors),
    }


def _read(path: Path, phase: str) -> dict[tuple[int, str], Accepted]:
    """Lines of a phase; of a round that was done again the last one counts, half a line does not."""
    known: dict[tuple[int, str], Accepted] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            update = Accepted(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if update.phase == phase:
            known[update.server_round, update.site_id] = update
    return known
