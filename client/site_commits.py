"""What a site has done, round by round: its private state and its reply, written down as one thing or not at all.

`state/` is where a task works; nothing there is relied upon when an order comes. `commits/<run>/<number>/` holds what
the site was after a round: second names of its files, and the reply it gave. An order begins by making `state/` what
the round before has left, so work that a crash cut short leaves no trace. An order that was carried out is answered
with the very same reply. Commits of a run that another run came upon stay, so neither harms the other.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from client.commit_files import REPLY, read_commit, reply_of, restore_state, write_commit
from client.site_state import SiteState
from diffuse_uda.data.run_lock import run_lock
from diffuse_uda.errors import CheckpointError, SiteTaskError
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.landmarks import Landmark, passing

logger = logging.getLogger(__name__)

STATE = "state"
COMMITS = "commits"
KEPT_RUNS = 2
"""Runs whose commits stay: the present one and the one before."""
KEPT_MODELS = 3
"""Commits stay back to the third newest reply with a model: the coordinator goes back by one checkpoint at most, so it
may ask for the last two again, and needs the state before them."""
LOCK_PATIENCE_S = 20.0
"""Seconds to wait for another process in the workspace: one that lost its node takes a few seconds to notice."""

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NUMBER = re.compile(r"[0-9]{6}")


def begin_run(workspace: Path, run: str) -> None:
    """Make a workspace ready for a run: a new one begins with what `state/` holds, a known one where it was.

    Args:
        workspace: The site's private folder.
        run: Name of the run, as the coordinator chose it.

    Raises:
        SiteTaskError: If the name is none.
        InUseError: If another process works here.
    """
    folder = _run_folder(workspace, run)
    with run_lock(workspace, patience_s=LOCK_PATIENCE_S):
        for leftover in workspace.glob("evaluation/*/.part-*"):
            leftover.unlink()
        for leftover in folder.parent.glob("*/.part-*"):
            shutil.rmtree(leftover)
        if commits := _commits(folder):
            try:
                restore_state(workspace / STATE, read_commit(commits[max(commits)]))
            except CheckpointError as error:
                # Whether that round is needed again is seen when an order comes.
                logger.warning("%s; its round can only be done again from the one before", error)
        else:
            begin_with_state(workspace, run)
        runs = sorted(
            (path for path in folder.parent.iterdir() if path != folder), key=lambda path: path.stat().st_mtime
        )
        for old in runs[: max(0, len(runs) + 1 - KEPT_RUNS)]:
            shutil.rmtree(old)


def begin_with_state(workspace: Path, run: str) -> None:
    """Let a run begin with what is in `state/`, whatever the site has done in it."""
    folder = _run_folder(workspace, run)
    with run_lock(workspace, patience_s=LOCK_PATIENCE_S):
        for commit in _commits(folder).values():
            shutil.rmtree(commit)
        write_commit(_place(folder, 0), SiteState(workspace / STATE).folder, order="", reply=None)


def carried_out_once(
    workspace: Path, run: str, order: WorkOrder, digest: str, work: Callable[[], SiteReply]
) -> SiteReply:
    """Carry out an order, or give the reply again that it was answered with.

    Args:
        workspace: The site's private folder.
        run: Name of the run.
        order: What is asked; its number says where in the run.
        digest: SHA-256 of the whole order with its weights: the same order is the same bytes.
        work: Does it, in `state/`, and hands over a reply that may leave.

    Raises:
        SiteTaskError: If the run is unknown here, or this site is no longer, or not yet, where the order begins.
        CheckpointError: If what the order begins with is damaged.
        InUseError: If another process works here.
        StorageError: If the disk does not take what has to be kept.
    """
    folder = _run_folder(workspace, run)
    with run_lock(workspace, patience_s=LOCK_PATIENCE_S):
        commits = _commits(folder)
        if (known := _known_reply(commits.get(order.number), digest)) is not None:
            logger.info("round %d of run %s was done before; answering as then", order.number, run)
            return known
        base = _base(commits, run, order)
        state = workspace / STATE
        restore_state(state, read_commit(commits[base]))
        reply = work()
        for number in commits:
            if number >= order.number:  # of a past that the coordinator has gone back behind
                shutil.rmtree(commits[number])
        write_commit(_place(folder, order.number), state, order=digest, reply=reply)
        _forget_old(_commits(folder))
    passing(Landmark.UPLOAD)
    return reply


def _run_folder(workspace: Path, run: str) -> Path:
    if not _RUN.fullmatch(run):
        msg = f"found the run {run[:80]!r}; wanted a name of letters, digits, '-' and '_'"
        raise SiteTaskError(msg)
    return workspace / COMMITS / run


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}"


def _commits(folder: Path) -> dict[int, Path]:
    """Folders of a run's commits by number, in order; what was not finished is deleted on the way."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _NUMBER.fullmatch(path.name):
            found[int(path.name)] = path
        else:
            shutil.rmtree(path)
    return found


def _base(commits: Mapping[int, Path], run: str, order: WorkOrder) -> int:
    """Number of the commit an order begins with."""
    if not commits:
        msg = f"run {run} has not begun here, or its state is gone: this site has to introduce itself to it first"
        raise SiteTaskError(msg)
    earlier = [number for number in commits if number < order.number]
    if not earlier:
        msg = (
            f"run {run}, round {order.number}: this site has gone on to round {max(commits)} and keeps nothing from "
            f"before round {min(commits)}. Start the run anew (resume=false)"
        )
        raise SiteTaskError(msg)
    if max(earlier) < order.after:
        msg = (
            f"run {run}, round {order.number}: the coordinator has this site's work of round {order.after}, the "
            f"workspace ends at round {max(earlier)}. Was it replaced? Restore it, or start the run anew (resume=false)"
        )
        raise SiteTaskError(msg)
    return max(earlier)


def _known_reply(folder: Path | None, digest: str) -> SiteReply | None:
    """The reply of a commit if it is the same order's, and whole."""
    if folder is None:
        return None
    try:
        commit = read_commit(folder)
        return reply_of(commit) if commit.order == digest else None
    except CheckpointError as error:
        logger.warning("%s; the round is done again", error)
        return None


def _forget_old(commits: Mapping[int, Path]) -> None:
    """Delete what nobody will ask for again: everything before the third newest reply with a model."""
    with_model = [number for number, folder in commits.items() if (folder / REPLY).exists()]
    if len(with_model) < KEPT_MODELS:
        return
    for number, folder in commits.items():
        if number < with_model[-KEPT_MODELS]:
            shutil.rmtree(folder)
