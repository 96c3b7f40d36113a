"""One rule of the intake gate: what it is called, what is wanted, what happens when it is broken, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reaction(StrEnum):
    """What the gate does about a broken rule."""

    RUN = "RUN"
    """The centre is refused before round 1."""
    CASE = "CASE"
    """The case is quarantined; the run goes on with the rest."""
    WARN = "WARN"
    """The run goes on; somebody should look."""
    NOTE = "NOTE"
    """The run goes on; it is written down, and nobody has to do anything."""
    PAUSE = "PAUSE"
    """The run stops safely and can be resumed: nothing is wrong with the data as such."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One row of the table."""

    slug: str
    """The readable name; the only word of a finding that may leave a site."""
    code: str
    """Row of the catalogue of bad input that the rule answers; several rules may share one."""
    reaction: Reaction
    wanted: str
    fix: str
    """What to do about it."""
    correction: str = ""
    """What `--fix` writes into a copy; empty where nothing can be corrected without a person."""
    how: str = ""
    """How it is found, and where it cannot be: only for rules whose finding is a judgement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """A row of the catalogue that needs no rule here: it works, somebody else answers it, or nobody can."""

    code: str
    about: str
    answer: str
