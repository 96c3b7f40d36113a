"""Letters to nodes and what comes back, as data; replies that do not count; and who keeps the books."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from diffuse_uda.exchange.envelopes import Content


class Outcome(Enum):
    """How a letter was answered."""

    ANSWERED = "answered"
    FAILED = "failed"
    """With an error."""
    UNASSIGNED = "unassigned"
    """By a simulated node that has not been told which site it plays."""
    ABSENT = "absent"
    """Its node was not there to take it."""
    LOST = "lost"
    """Its node came and went, or its app died, as often as it was asked."""
    SILENT = "silent"
    """Its node was out of reach for too long."""
    OVERDUE = "overdue"
    """Its node was still there when the time was over."""
    REFUSED = "refused"
    """By a message whose signature, or whose place in the run, is wrong."""


class Ignored(Enum):
    """Why a reply that came does not count."""

    DUPLICATE = "duplicate"
    """An answer to this order has been counted."""
    STALE = "stale"
    """It answers an order that was given up."""
    MISADDRESSED = "misaddressed"
    """It comes from another node than the one that was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """Something that was sent, or waits for its node to appear."""

    node_id: int
    message_id: str | None
    """None if it has not been sent: the node is not there, or Flower would not take it."""
    num_bytes: int = 0
    group: str = ""
    """Phase and round it belongs to."""
    gather_s: float = 0.0
    """How long to wait for its node to appear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to wait for answers, in seconds."""

    idle_s: float
    """For a node that is out of reach."""
    limit_s: float
    """For anybody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back for a letter."""

    node_id: int
    outcome: Outcome
    seconds: float
    """Since the waiting began."""
    content: Content | None = None
    """Records of the reply, if it was answered."""
    reason: str = ""
    """Why there is no content; free of anything a site did not seal."""
    num_sendings: int = 1
    """How often the letter was sent; 0 if never."""
    is_from_site: bool = False
    """Whether `reason` came from the site itself."""


class Registrar(Protocol):
    """Whoever keeps the books about letters."""

    def stamp(self, content: Content) -> Content:
        """Put a letter into an envelope."""

    def sent(self, letter: Letter, message_type: str, content: Content) -> None:
        """Note a letter that has gone out."""

    def judged(self, letter: Letter, answer: Answer) -> Answer:
        """Look at an answer before anybody opens it."""


class NoRegister:
    """No books: sites refuse such letters, but the post itself can be looked at without them."""

    def stamp(self, content: Content) -> Content:
        """Leave a letter as it is."""
        return content

    def sent(self, letter: Letter, message_type: str, content: Content) -> None:
        """Note nothing."""

    def judged(self, letter: Letter, answer: Answer) -> Answer:  # noqa: ARG002 - it is a `Registrar`
        """Take every answer."""
        return answer


NO_REGISTER = NoRegister()


@dataclass(frozen=True, kw_only=True, slots=True)
class IgnoredReply:
    """A reply that came and was not counted."""

    node_id: int
    group: str
    """Phase and round of the order that it answers."""
    why: Ignored
