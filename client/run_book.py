"""What a site has agreed to in a run: the plan, who takes part, which weights came for which round, how much left.

Written before the work begins, so that no crash makes a site forget what it has answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from diffuse_uda.data.atomic import make_folder, replaced_atomically
from diffuse_uda.errors import CheckpointError, RefusalError

BOOKS = "run-books"
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunBook:
    """One run, as one site knows it."""

    plan: str
    """Hash of the study that the site introduced itself for."""
    label_names: tuple[str, ...] = ()
    """Classes of the study: the source's own from the start, for a target those of its first order."""
    domains: tuple[str, ...] = ()
    """Sites of the run, as the first order named them; empty before."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """Hash of the weights that came, by number of the round in the plan."""
    fall_backs: int = 0
    """How often the coordinator had gone back behind finished rounds when the last order was admitted."""
    sent_bytes: int = 0
    """Bytes of all messages so far."""


def book_path(workspace: Path, run: str) -> Path:
    """Where the book of a run is.

    Raises:
        RefusalError: If the run's identifier is none.
    """
    if not _RUN.fullmatch(run):
        msg = "order refused"
        raise RefusalError(msg, [("run-name", "the run's identifier is not made of letters, digits, '-' and '_'")])
    return workspace / BOOKS / f"{run}.json"


def read_book(workspace: Path, run: str) -> RunBook | None:
    """The book of a run; None if the site has not introduced itself to it.

    Raises:
        RefusalError: If the run's identifier is none.
        CheckpointError: If the book cannot be read.
    """
    path = book_path(workspace, run)
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return RunBook(
            plan=str(said["plan"]),
            label_names=tuple(map(str, said["label_names"])),
            domains=tuple(map(str, said["domains"])),
            bases={str(key): str(value) for key, value in said["bases"].items()},
            fall_backs=int(said["fall_backs"]),
            sent_bytes=int(said["sent_bytes"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} cannot be read: {type(error).__name__}: {error}; start the run anew"
        raise CheckpointError(msg) from error


def write_book(workspace: Path, run: str, book: RunBook) -> None:
    """Keep a book; it is on the disk when this returns.

    Raises:
        RefusalError: If the run's identifier is none.
        OSError: If the disk is full or not writable.
    """
    path = book_path(workspace, run)
    make_folder(path.parent)
    for draft in path.parent.glob(f".part-*{path.name}"):  # of a process that was killed
        draft.unlink(missing_ok=True)
    with replaced_atomically(path, mode=0o600) as draft:
        draft.write_text(json.dumps(asdict(book), sort_keys=True) + "\n", encoding="utf-8")
