"""Letters to nodes and their answers, over Flower's grid: the server's only file, beside its shell, that knows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from diffuse_uda.exchange.flower import ErrorCode, num_bytes

POLL_SHARE = 0.01
"""Pause between two looks into the mailbox, as a share of the time waited so far: waiting costs a round 1 % at most."""

SHORTEST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 1.0

_LOST = {3: "its reply got lost", 5: "the site went offline"}
"""Flower's error codes that mean that nothing came."""


class Outcome(Enum):
    """How a letter was answered."""

    ANSWERED = "answered"
    FAILED = "failed"
    """With an error."""
    UNASSIGNED = "unassigned"
    """By a simulated node that has not been told which site it plays."""
    NOTHING = "nothing"
    """Not at all, in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """Something that was sent."""

    node_id: int
    message_id: str | None
    """None if Flower would not take it."""
    num_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back for a letter."""

    node_id: int
    outcome: Outcome
    seconds: float
    """Since the waiting began."""
    content: RecordDict | None = None
    """Records of the reply, if it was answered."""
    reason: str = ""
    """Why there is no content; free of anything a site did not seal."""


class Mail:
    """A mailbox on a grid. One answer is taken out at a time, so that one model is in memory at a time."""

    def __init__(
        self, grid: Grid, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Use a grid; `clock` and `sleep` are in seconds."""
        self._grid = grid
        self._clock = clock
        self._sleep = sleep

    def nodes(self) -> list[int]:
        """Ids of the nodes that are online."""
        return sorted(self._grid.get_node_ids())

    def send(self, node_id: int, message_type: str, content: RecordDict, *, group: str, lifetime_s: float) -> Letter:
        """Send records to a node.

        Args:
            node_id: Flower's address.
            message_type: What the node shall do with it.
            content: Records; they may be shared with other letters.
            group: Phase and round, for Flower's own records.
            lifetime_s: Seconds for the way there, the work and the way back.
        """
        message = Message(content, node_id, message_type, group_id=group, ttl=lifetime_s)
        # One at a time: Flower drops what it cannot deliver and does not always say which one that was.
        message_id = next(iter(self._grid.push_messages([message])), None)
        return Letter(node_id=node_id, message_id=message_id or None, num_bytes=num_bytes(content))

    def answers(self, letters: Collection[Letter], *, timeout_s: float) -> Iterator[Answer]:
        """Wait for the answers and hand them out as they come; at the end, one for every letter that got none."""
        started = self._clock()
        waiting = {letter.message_id: letter.node_id for letter in letters if letter.message_id is not None}
        for letter in letters:
            if letter.message_id is None:
                yield Answer(node_id=letter.node_id, outcome=Outcome.NOTHING, seconds=0.0, reason="it is not online")
        while waiting and (waited := self._clock() - started) < timeout_s:
            came = False
            for message_id, node_id in list(waiting.items()):
                for message in self._grid.pull_messages([message_id]):
                    came = True
                    del waiting[message_id]
                    yield _opened(node_id, message, self._clock() - started)
            if not came:
                pause = min(max(POLL_SHARE * waited, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
                self._sleep(min(pause, max(timeout_s - waited, 0.0)))
        for node_id in waiting.values():
            reason = f"no answer within {timeout_s:g} s"
            yield Answer(node_id=node_id, outcome=Outcome.NOTHING, seconds=timeout_s, reason=reason)


def _opened(node_id: int, message: Message, seconds: float) -> Answer:
    if message.has_content():
        return Answer(node_id=node_id, outcome=Outcome.ANSWERED, seconds=seconds, content=message.content)
    error = message.error
    if error.code in _LOST:
        return Answer(node_id=node_id, outcome=Outcome.NOTHING, seconds=seconds, reason=_LOST[error.code])
    outcome = Outcome.UNASSIGNED if error.code == ErrorCode.SITE_UNASSIGNED else Outcome.FAILED
    # Only our own codes come with words that were sealed; Flower would repeat an exception's.
    is_sealed = error.code in set(ErrorCode)
    reason = str(error.reason) if is_sealed else f"Flower reports error {error.code}; the reason is in the site's log"
    return Answer(node_id=node_id, outcome=outcome, seconds=seconds, reason=reason)
