"""Boundaries between phases, kept so that runs with the same beginning share it and an interrupted run goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.site_commits import STATE, begin_with_state
from diffuse_uda.data.links import link_tree
from server.start import START_FILE, keep_starting_point

SERVER = "server"
SITES = "sites"
ROUNDS = "rounds"

OF_A_SITE = (STATE, "evaluation")
"""What of a site's workspace a stage keeps; keys, logs and commits belong to the run that wrote them."""


def _parts(folder: Path) -> list[Path]:
    """What is kept of a run's folder, or was, as paths within it."""
    sites = sorted((folder / SITES).iterdir()) if (folder / SITES).is_dir() else []
    wanted = [folder / ROUNDS, *(site / name for site in sites for name in OF_A_SITE)]
    return [path.relative_to(folder) for path in wanted if path.is_dir()]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageStore:
    """One folder a stage: the server's part, every site's private folder, kept rounds.

    Files are hard links into run folders: everything in there is only ever replaced whole, so a run that goes on from
    a stage leaves it as it was, and a stage costs no space as long as its run exists.
    """

    folder: Path

    def __contains__(self, key: object) -> bool:
        """Whether a stage is there, whole."""
        return (self.folder / str(key) / SERVER / START_FILE).exists()

    def last_known(self, keys: Sequence[str]) -> str | None:
        """The latest of a run's stages that is there; None if it has to begin at the beginning."""
        return next((key for key in reversed(keys) if key in self), None)

    def keep(self, key: str, run_dir: Path, phase: str) -> None:
        """Keep what is there after `phase`; a stage that is there already stays."""
        if key in self:
            return
        draft = self.folder / f".part-{key}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)  # of a process of the same number that was interrupted
        keep_starting_point(run_dir, draft / SERVER, phase)
        for part in _parts(run_dir):
            link_tree(run_dir / part, draft / part)
        # The name comes last, so a stage is whole or not there.
        draft.rename(self.folder / key)

    def server_part(self, key: str) -> Path:
        """What the server starts from."""
        return self.folder / key / SERVER

    def restore_sites(self, key: str, run_dir: Path, run: str) -> None:
        """Give the sites and the kept rounds of a run what they were when the stage was kept.

        Args:
            key: Of the stage.
            run_dir: Of the run.
            run: Name of the run, in which the sites begin with what they get here.
        """
        for part in _parts(run_dir):
            shutil.rmtree(run_dir / part)
        for part in _parts(self.folder / key):
            link_tree(self.folder / key / part, run_dir / part)
        for workspace in (run_dir / SITES).iterdir() if (run_dir / SITES).is_dir() else ():
            begin_with_state(workspace, run)

    def clear(self) -> None:
        """Delete every stage: all that could go on from them is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
