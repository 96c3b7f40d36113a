"""The server opens what bears a good signature for this very round, and writes down everything else that came."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flwr.app import RecordDict

from diffuse_uda.errors import CheckpointError
from diffuse_uda.exchange.audit_check import check_log
from diffuse_uda.exchange.envelopes import (
    Envelope,
    base_digest,
    content_digest,
    digests,
    signed,
    signed_words,
    take_envelope,
    words_digest,
)
from diffuse_uda.exchange.flower import (
    INTRODUCE,
    empty_content,
    encode_card,
    encode_order,
    encode_reply,
    encode_weights,
)
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.exchange.signing import MessageKind, SiteKey, Statement, make_key
from diffuse_uda.methods.phase import Task
from server.history import SiteRecord, SiteReplied, SiteState
from server.letters import Answer, Letter, Outcome
from server.register import AUDIT_LOG, KEYS_FILE, Register
from tests.fake_federation import SOURCE, TARGET_A, order_for, tiny_weights

KEY, OTHER_KEY = make_key(), make_key()
NODE, OTHER_NODE = 101, 102
ORDER = encode_order(order_for(Task.ADAPT_TARGET, "adapt"), encode_weights(tiny_weights()))
NEXT_ORDER = encode_order(
    replace(order_for(Task.ADAPT_TARGET, "adapt"), server_round=2),
    encode_weights({**tiny_weights(), "scale": torch.tensor(1.0)}),
)
ADAPT = "train.adapt_target"
Change = Callable[[Statement], Statement]


def _reply() -> RecordDict:
    return encode_reply(SiteReply(num_examples=3, weights=tiny_weights()))


class Post:
    """A register, with letters that are answered at once."""

    def __init__(self, folder: Path, run: str = "r1") -> None:
        self.folder = folder
        self.run = run
        self.register = Register(folder, run=run, plan="p")
        self.count = 0

    def send(self, message_type: str, content: RecordDict, node_id: int = NODE) -> Letter:
        self.count += 1
        letter = Letter(node_id=node_id, message_id=f"m{self.count}")
        self.register.sent(letter, message_type, content)
        return letter

    def answer(self, letter: Letter, content: RecordDict) -> Answer:
        return self.register.judged(
            letter, Answer(node_id=letter.node_id, outcome=Outcome.ANSWERED, seconds=1.0, content=content)
        )

    def introduce(self, key: SiteKey = KEY, node_id: int = NODE, *, name: str = "target-a") -> Answer:
        content = encode_card(TARGET_A)
        statement = Statement(
            kind=MessageKind.CARD, run=self.run, site_id=name, payload=content_digest(digests(content))
        )
        return self.answer(self.send(INTRODUCE, empty_content(), node_id), signed(content, statement, key))

    def work(
        self,
        change: Change = lambda statement: statement,
        *,
        key: SiteKey = KEY,
        order: RecordDict = ORDER,
        node_id: int = NODE,
        tamper: Callable[[RecordDict], object] = lambda _content: None,
    ) -> Answer:
        """One round in which the site signs a statement that the test has changed."""
        content = _reply()
        statement = Statement(
            kind=MessageKind.REPLY,
            run=self.run,
            site_id="target-a",
            phase="adapt",
            server_round=1 if order is ORDER else 2,
            base=base_digest(digests(order)),
            payload=content_digest(digests(content)),
        )
        message = signed(content, change(statement), key)
        tamper(message)
        return self.answer(self.send(ADAPT, order, node_id), message)

    def fail(self, reason: str) -> Answer:
        answer = Answer(node_id=NODE, outcome=Outcome.FAILED, seconds=1.0, reason=reason, is_from_site=True)
        return self.register.judged(self.send(ADAPT, ORDER), answer)

    def events(self) -> list[tuple[str, str]]:
        lines = (self.folder / AUDIT_LOG).read_text(encoding="utf-8").splitlines()
        return [(entry["event"], entry.get("why", "")) for entry in map(json.loads, lines)]


@pytest.fixture
def post(tmp_path: Path) -> Post:
    met = Post(tmp_path)
    assert met.introduce().outcome is Outcome.ANSWERED
    return met


def test_every_letter_gets_an_envelope(post: Post) -> None:
    assert take_envelope(post.register.stamp(_reply())) == Envelope(run="r1", plan="p")


def test_a_signed_reply_is_taken_without_its_signature(post: Post) -> None:
    answer = post.work()
    assert answer.outcome is Outcome.ANSWERED
    assert answer.content is not None
    assert digests(answer.content) == digests(_reply())
    assert post.events() == [
        ("question-sent", ""),
        ("message-received", ""),
        ("order-sent", ""),
        ("message-received", ""),
    ]
    assert check_log(post.folder / AUDIT_LOG).findings == ()


def _spoil(message: RecordDict) -> None:
    message["metrics"]["loss"] = 0.5  # type: ignore[assignment]


def _spoil_a_weight(message: RecordDict) -> None:
    record = message["weights"]
    data = record["0"].data  # type: ignore[union-attr]
    record["0"].data = bytes([data[0] ^ 1]) + data[1:]  # type: ignore[union-attr]


REFUSED: dict[str, tuple[str, Callable[[Post], Answer]]] = {
    "no signature": ("unsigned", lambda post: post.work(tamper=lambda message: message.pop("signature", None))),
    "another's key": ("unknown-key", lambda post: post.work(key=OTHER_KEY)),
    "another's name": ("unknown-key", lambda post: post.work(lambda said: replace(said, site_id="target-b"))),
    "a node that never introduced itself": ("unknown-key", lambda post: post.work(node_id=OTHER_NODE)),
    "a changed scalar": ("bad-signature", lambda post: post.work(tamper=_spoil)),
    "a changed weight": ("bad-signature", lambda post: post.work(tamper=_spoil_a_weight)),
    "a card for a reply": ("bad-signature", lambda post: post.work(lambda said: replace(said, kind=MessageKind.CARD))),
    "another run": ("other-run", lambda post: post.work(lambda said: replace(said, run="r0"))),
    "an earlier round": (
        "replayed",
        lambda post: post.work(lambda said: replace(said, server_round=1), order=NEXT_ORDER),
    ),
    "another phase": ("replayed", lambda post: post.work(lambda said: replace(said, phase="warm-up"))),
    "other weights": ("wrong-base", lambda post: post.work(lambda said: replace(said, base="0" * 64))),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_reply_that_is_not_what_it_says_is_refused_by_name(post: Post, how: str) -> None:
    why, send = REFUSED[how]
    answer = send(post)
    assert (answer.outcome, answer.content, answer.reason) == (
        Outcome.REFUSED,
        None,
        f"its message is not taken: {why}",
    )
    assert post.events()[-1] == ("message-refused", why)
    assert check_log(post.folder / AUDIT_LOG).findings == ()
    assert post.work().outcome is Outcome.ANSWERED  # the next one is judged by itself


def test_a_round_is_answered_once(post: Post) -> None:
    assert post.work().outcome is Outcome.ANSWERED
    again = post.work()
    assert (again.outcome, again.reason) == (Outcome.REFUSED, "its message is not taken: replayed")
    assert post.work(order=NEXT_ORDER).outcome is Outcome.ANSWERED


def test_a_name_belongs_to_the_first_key_for_the_whole_run_and_over_restarts(post: Post) -> None:
    assert post.introduce().outcome is Outcome.ANSWERED
    for register in (post, restarted := Post(post.folder)):
        impostor = register.introduce(OTHER_KEY, OTHER_NODE)
        assert impostor.reason == "its message is not taken: unknown-key"
    assert restarted.introduce().outcome is Outcome.ANSWERED
    assert restarted.work().outcome is Outcome.ANSWERED
    assert Post(post.folder, run="r2").introduce(OTHER_KEY).outcome is Outcome.ANSWERED  # a new run, a new key


def test_a_card_under_another_name_is_refused(tmp_path: Path) -> None:
    answer = Post(tmp_path).introduce(name="target-b")
    assert answer.reason == "its message is not taken: bad-signature"
    assert not (tmp_path / KEYS_FILE).exists()
    unsigned = Post(tmp_path)
    answer = unsigned.answer(unsigned.send(INTRODUCE, empty_content()), encode_card(SOURCE))
    assert answer.reason == "its message is not taken: unsigned"


def _words(words: str, key: SiteKey = KEY, order: RecordDict = ORDER, said: str | None = None) -> str:
    statement = Statement(
        kind=MessageKind.REFUSAL,
        run="r1",
        site_id="target-a",
        base=content_digest(digests(order)),
        payload=words_digest(words if said is None else said),
    )
    return signed_words(words, statement, key)


SEALED = f"{ADAPT} failed: OSError; the reason is in this site's log"


def test_signed_words_are_repeated_and_others_are_not(post: Post) -> None:
    assert post.fail(_words(SEALED)).reason == SEALED
    for reason, why in (
        ("the patient DOE_JANE", "unsigned"),
        (_words("DOE_JANE", OTHER_KEY), "unknown-key"),
        (_words("DOE_JANE", said="adapt failed"), "bad-signature"),
        (_words("DOE_JANE", order=NEXT_ORDER), "wrong-base"),
        (_words("cannot read DOE_JANE"), "not-sealed"),
        (_words(SEALED.replace("OSError", "DOE_JANE")), "not-sealed"),
        (_words(SEALED.replace("adapt_target", "DOE_JANE")), "not-sealed"),
    ):
        answer = post.fail(reason)
        assert (answer.outcome, answer.reason) == (
            Outcome.FAILED,
            f"it failed; its words are not repeated ({why})",
        )
    assert "DOE_JANE" not in (post.folder / AUDIT_LOG).read_text(encoding="utf-8")
    assert check_log(post.folder / AUDIT_LOG).findings == ()


def test_a_site_that_cannot_even_read_its_key_may_say_so_before_it_is_known(tmp_path: Path) -> None:
    post = Post(tmp_path)
    sealed = "query.introduce failed: ConfigError; the reason is in this site's log"
    answer = Answer(node_id=NODE, outcome=Outcome.FAILED, seconds=0.0, reason=sealed, is_from_site=True)
    assert post.register.judged(post.send(INTRODUCE, empty_content()), answer) == answer
    assert post.events() == [("question-sent", "")]
    for outcome, said in (
        (Outcome.FAILED, "it failed; its words are not repeated (not-sealed)"),
        (Outcome.UNASSIGNED, "this node plays no site yet"),
    ):
        chatty = replace(answer, outcome=outcome, reason="/data/DOE_JANE")
        assert post.register.judged(post.send(INTRODUCE, empty_content()), chatty).reason == said
    assert check_log(tmp_path / AUDIT_LOG).findings == ()


def test_what_no_site_has_said_is_passed_on(post: Post) -> None:
    silent = Answer(node_id=NODE, outcome=Outcome.SILENT, seconds=9.0, reason="not heard of")
    assert post.register.judged(post.send(ADAPT, ORDER), silent) is silent
    before = post.events()
    post.register.sent(Letter(node_id=NODE, message_id=None), ADAPT, ORDER)
    assert post.events() == before


def test_an_answer_to_nothing_is_refused(post: Post) -> None:
    letter = post.send(ADAPT, ORDER)
    for asked in (Letter(node_id=NODE, message_id=None), Letter(node_id=NODE, message_id="m99")):
        unknown = Answer(node_id=NODE, outcome=Outcome.ANSWERED, seconds=9.0, content=_reply())
        assert post.register.judged(asked, unknown).reason == "its message is not taken: replayed"
    assert post.answer(letter, _reply()).reason == "its message is not taken: unsigned"


@pytest.mark.parametrize("content", ["", "[]", '{"run": "r1", "keys": {"a": "zz"}}'])
def test_pinned_keys_that_cannot_be_read_are_not_forgotten(tmp_path: Path, content: str) -> None:
    (tmp_path / KEYS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match="the keys of the sites are pinned there"):
        Register(tmp_path, run="r1", plan="p")


@pytest.mark.parametrize(
    ("state", "sha256", "is_written"),
    [
        (SiteState.REJECTED, "ab", True),
        (SiteState.REJECTED, "", False),  # the message itself was refused, and that is written already
        (SiteState.USED, "ab", False),
    ],
)
def test_a_refused_update_is_written_down(post: Post, state: SiteState, sha256: str, *, is_written: bool) -> None:
    record = SiteRecord(state=state, seconds=1.0, reason="tensor 'w' is not finite", sha256=sha256)
    before = len(post.events())
    post.register.hear(SiteReplied(phase="adapt", server_round=1, site_id="target-a", record=record))
    assert post.events()[before:] == ([("update-refused", "tensor 'w' is not finite")] if is_written else [])
    assert check_log(post.folder / AUDIT_LOG).findings == ()
