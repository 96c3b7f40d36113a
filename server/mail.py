"""Letters to nodes and their answers, over Flower's grid: the server's only file, beside its shell, that knows it.

What Flower 1.41 shows of a site at work is whether its node is online: a node that has not sent its heartbeat in time
is not. A question about progress would wait behind the work, because a node handles one message at a time. So a node
that is online counts as showing progress, and the site itself answers with an error when its work stands still
(`client.watchdog`). Two habits of Flower make the rules here: asking for the reply of a node that is offline throws the
reply away, so nobody asks before it is back; and a node that was restarted has forgotten its order, so it is sent again
when the node was away in between (a site answers a repeated order from its disk).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from diffuse_uda.exchange.flower import ErrorCode, num_bytes
from server.letters import NO_REGISTER, Answer, Ignored, IgnoredReply, Letter, Outcome, Patience, Registrar

POLL_SHARE = 0.01
"""Pause between two looks into the mailbox, as a share of the time waited so far: waiting costs a round 1 % at most."""

SHORTEST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 1.0

MOST_SENDINGS = 4
"""How often one order is sent at most, to a site that crashes or goes away over it."""

_FLOWERS = {7: "it has not approved this app bundle"}
"""What Flower's own codes say, where they say enough."""

_LOST = {
    3: "its reply got lost",
    4: "its reply got lost",
    5: "the site went offline",
    8: "its app stopped without a word",
}
"""Flower's error codes that mean that nothing came, and that asking again may help."""


@dataclass(kw_only=True, slots=True)
class _Waiting:
    letter: Letter
    session: str | None = None
    """Which of its node's times online the letter belongs to."""
    heard_s: float = 0.0
    num_sendings: int = 0
    trouble: str = ""
    """What happened to the last sending."""


class Mail:
    """A mailbox on a grid. One answer is taken out at a time, so that one model is in memory at a time."""

    def __init__(
        self,
        grid: Grid,
        *,
        register: Registrar = NO_REGISTER,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use a grid; `register` keeps the books, `clock` and `sleep` are in seconds."""
        self._grid = grid
        self._register = register
        self._clock = clock
        self._sleep = sleep
        self._given_up: list[Letter] = []
        self._ignored: list[IgnoredReply] = []

    def nodes(self) -> list[int]:
        """Ids of the nodes that are online."""
        return sorted(self.sessions())

    def sessions(self) -> dict[int, str]:
        """The nodes that are online, and a mark that changes whenever a node was away and is back."""
        return {node.node_id: str(node.last_activated_at) for node in self._grid.get_nodes()}

    def send(self, node_id: int, message_type: str, content: RecordDict, *, group: str, lifetime_s: float) -> Letter:
        """Send records to a node.

        Args:
            node_id: Flower's address.
            message_type: What the node shall do with it.
            content: Records; they may be shared with other letters.
            group: Phase and round, for Flower's own records.
            lifetime_s: Seconds for the way there, the work and the way back.
        """
        stamped = self._register.stamp(content)
        message = Message(stamped, node_id, message_type, group_id=group, ttl=lifetime_s)
        # One at a time: Flower drops what it cannot deliver and does not always say which one that was.
        message_id = next(iter(self._grid.push_messages([message])), None)
        letter = Letter(node_id=node_id, message_id=message_id or None, num_bytes=num_bytes(content), group=group)
        self._register.sent(letter, message_type, content)
        return letter

    def answers(
        self, letters: Collection[Letter], *, patience: Patience, send_again: Callable[[int], Letter] | None = None
    ) -> Iterator[Answer]:
        """Wait for the answers and hand them out as they come; exactly one for every letter.

        Args:
            letters: What was sent, at most one to a node.
            patience: How long to wait.
            send_again: Sends a node's letter, which it has lost or could not be given; nothing is repeated without it.
        """
        started = self._clock()
        waiting = {
            letter.node_id: _Waiting(letter=letter, num_sendings=int(letter.message_id is not None))
            for letter in letters
        }
        while waiting and (waited := self._clock() - started) < patience.limit_s:
            came = False
            online = self.sessions()
            for node_id, item in list(waiting.items()):
                answer = self._look(item, online, waited, patience, send_again)
                if answer is not None:
                    came = True
                    del waiting[node_id]
                    yield answer
            self._collect_late(online)
            if waiting and not came:
                pause = min(max(POLL_SHARE * waited, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
                self._sleep(min(pause, max(patience.limit_s - waited, 0.0)))
        for item in waiting.values():
            yield self._without_answer(item, patience.limit_s, f"no answer within {patience.limit_s:g} s")

    def take_ignored(self) -> list[IgnoredReply]:
        """Hand out, once, what came and did not count."""
        taken, self._ignored = self._ignored, []
        return taken

    def _look(
        self,
        item: _Waiting,
        online: Mapping[int, str],
        waited: float,
        patience: Patience,
        send_again: Callable[[int], Letter] | None,
    ) -> Answer | None:
        """See what there is for one letter; None to go on waiting."""
        node_id = item.letter.node_id
        if node_id not in online:
            # Asking for its reply now would throw away what it may still bring.
            limit = patience.idle_s if item.num_sendings else item.letter.gather_s
            if waited - item.heard_s < limit:
                return None
            reason = f"not heard of for {limit:g} s" if item.num_sendings else "it is not online"
            return self._without_answer(item, waited, reason, is_away=True)
        item.heard_s = waited
        came_back = item.session is not None and item.session != online[node_id]
        item.session = online[node_id]
        if item.letter.message_id is None or (came_back and send_again is not None):
            return self._send_again(item, waited, send_again)
        for message in self._pulled(item.letter, Ignored.DUPLICATE):
            answer = self._opened(item, message, waited, may_send_again=send_again is not None)
            return None if answer is None else self._register.judged(item.letter, answer)
        return None

    def _send_again(self, item: _Waiting, waited: float, send_again: Callable[[int], Letter] | None) -> Answer | None:
        if send_again is None or item.num_sendings >= MOST_SENDINGS:
            if item.letter.message_id is not None:
                return None  # the node was away once more; what it has been sent may still be answered
            return self._without_answer(item, waited, item.trouble or "Flower would not take the letter")
        if item.letter.message_id is not None:
            self._given_up.append(item.letter)
        item.letter = send_again(item.letter.node_id)
        item.num_sendings += 1
        return None

    def _opened(self, item: _Waiting, message: Message, waited: float, *, may_send_again: bool) -> Answer | None:
        node_id, sendings = item.letter.node_id, item.num_sendings
        if message.has_content():
            return Answer(
                node_id=node_id,
                outcome=Outcome.ANSWERED,
                seconds=waited,
                content=message.content,
                num_sendings=sendings,
            )
        error = message.error
        if error.code in _LOST:
            item.trouble = _LOST[error.code]
            if may_send_again and sendings < MOST_SENDINGS:
                item.letter = Letter(node_id=node_id, message_id=None, group=item.letter.group)
                return None
            return Answer(
                node_id=node_id, outcome=Outcome.LOST, seconds=waited, reason=item.trouble, num_sendings=sendings
            )
        outcome = Outcome.UNASSIGNED if error.code == ErrorCode.SITE_UNASSIGNED else Outcome.FAILED
        # Only our own codes come with words that were sealed; Flower would repeat an exception's.
        is_sealed = error.code in set(ErrorCode)
        reason = (
            str(error.reason)
            if is_sealed
            else _FLOWERS.get(error.code, f"Flower reports error {error.code}; the reason is in the site's log")
        )
        return Answer(
            node_id=node_id,
            outcome=outcome,
            seconds=waited,
            reason=reason,
            num_sendings=sendings,
            is_from_site=is_sealed,
        )

    def _without_answer(self, item: _Waiting, seconds: float, reason: str, *, is_away: bool = False) -> Answer:
        if item.letter.message_id is not None:
            self._given_up.append(item.letter)
            outcome = Outcome.SILENT if is_away else Outcome.OVERDUE
        else:
            outcome = Outcome.LOST if item.num_sendings else Outcome.ABSENT
        return Answer(
            node_id=item.letter.node_id,
            outcome=outcome,
            seconds=seconds,
            reason=reason,
            num_sendings=item.num_sendings,
        )

    def _pulled(self, letter: Letter, why: Ignored) -> list[Message]:
        """What came for a letter: one message at most; what comes beside it or from elsewhere is noted and dropped."""
        counted: list[Message] = []
        for message in self._grid.pull_messages([str(letter.message_id)]):
            if message.has_content() and message.metadata.src_node_id != letter.node_id:
                self._note(letter, Ignored.MISADDRESSED)
            elif counted:
                self._note(letter, why)
            else:
                counted.append(message)
        return counted

    def _collect_late(self, online: Mapping[int, str]) -> None:
        """Take late replies out of Flower's hands, one at a time, and note them."""
        for letter in [letter for letter in self._given_up if letter.node_id in online]:
            for message in self._pulled(letter, Ignored.STALE):
                self._given_up.remove(letter)
                if message.has_content():
                    self._note(letter, Ignored.STALE)

    def _note(self, letter: Letter, why: Ignored) -> None:
        self._ignored.append(IgnoredReply(node_id=letter.node_id, group=letter.group, why=why))
