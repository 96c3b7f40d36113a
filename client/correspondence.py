"""What a site does with a letter: look at it, work, look at what would leave, sign it, write both down. Free of Flower.

`preview-egress` goes the same way, so what it shows is what would leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from client.order_gate import admitted, check_order_bytes, check_plan
from client.run_book import RunBook, read_book, write_book
from client.site import Site
from client.site_commits import begin_run, carried_out_once
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import CheckpointError, RefusalError
from diffuse_uda.exchange.audit import AuditLog, Log
from diffuse_uda.exchange.audit_entries import (
    MESSAGE_SENT,
    ORDER_RECEIVED,
    QUESTION_RECEIVED,
    Facts,
    content_facts,
    message_facts,
    order_facts,
    tensor_facts,
)
from diffuse_uda.exchange.card_policy import check_card, fewest_cases
from diffuse_uda.exchange.envelopes import (
    Content,
    Envelope,
    base_digest,
    content_digest,
    digests,
    signed,
    signed_words,
    take_envelope,
    words_digest,
)
from diffuse_uda.exchange.flower import INTRODUCE, decode_order, encode_card, encode_reply, num_bytes
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.exchange.policy import reply_policy
from diffuse_uda.exchange.signing import MessageKind, SiteKey, Statement, open_key
from diffuse_uda.exchange.site_policy import SitePolicy, read_site_policy
from diffuse_uda.types import StateDict

Introduce = Callable[[Site, StudyConfig], SiteCard]
RunTask = Callable[[Site, StudyConfig, WorkOrder, StateDict], SiteReply]


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """A site with everything that stands between its work and the outside."""

    site: Site
    config: StudyConfig
    policy: SitePolicy
    key: SiteKey
    log: Log


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A letter, written down and not yet believed."""

    envelope: Envelope
    content: Content
    payload: str
    """SHA-256 of everything in it."""
    base: str
    """SHA-256 of the weights in it."""
    num_bytes: int


def open_desk(site: Site, config: StudyConfig) -> Desk:
    """Read the site's policy and key, and open its log.

    Raises:
        ConfigError: If policy or key cannot be used: without them nothing leaves.
    """
    policy = read_site_policy(site.egress_policy)
    key = open_key(site.signing_key)
    return Desk(site=site, config=config, policy=policy, key=key, log=AuditLog(site.audit_log, side="site"))


def receive(desk: Desk, message_type: str, content: Content) -> Received:
    """Take a letter in: what it is and what it hashes to, before anything in it is opened.

    Raises:
        RefusalError: If it bears no envelope.
        AuditError: If it cannot be written down.
    """
    envelope = take_envelope(content)
    records = digests(content)
    letter = Received(
        envelope=envelope,
        content=content,
        payload=content_digest(records),
        base=base_digest(records),
        num_bytes=num_bytes(content),
    )
    event = QUESTION_RECEIVED if message_type == INTRODUCE else ORDER_RECEIVED
    desk.log.append(
        event,
        order_facts(
            run=envelope.run,
            fall_backs=envelope.fall_backs,
            site_id=desk.site.site_id,
            message_type=message_type,
            payload=letter.payload,
            base=letter.base,
            num_bytes=letter.num_bytes,
        ),
    )
    return letter


def answer_with_card(desk: Desk, letter: Received, introduce: Introduce) -> Content:
    """Introduce the site to a run.

    Raises:
        RefusalError: If the plan is not the site's, or the card says too much.
    """
    site, run = desk.site, letter.envelope.run
    book = read_book(site.workspace, run)
    check_plan(book, letter.envelope, desk.config, desk.policy)
    card = introduce(site, _as_allowed(desk.config, desk.policy))
    check_card(card, desk.config, site_allows_style=site.allow_style_blocks, site=desk.policy)
    begin_run(site.workspace, run)
    if book is None:
        book = RunBook(plan=letter.envelope.plan, label_names=card.label_names)
    content = encode_card(card)
    facts = {
        "cases": [card.num_cases, card.num_test_cases],
        "labels": list(card.label_names),
        "fingerprint": {} if card.fingerprint is None else card.fingerprint.numbers(),
        "tensors": [] if card.style_block is None else [tensor_facts("style-block", card.style_block)],
    }
    statement = _statement(desk, letter, MessageKind.CARD, content)
    return _release(desk, book, content, statement, facts)


def _as_allowed(config: StudyConfig, policy: SitePolicy) -> StudyConfig:
    """The study as this site introduces itself for it: what the site does not give is not made, and refuses nothing."""
    wanted = {
        "allow_fingerprints": config.exchange.allow_fingerprints and policy.allow_fingerprints is not False,
        "min_cases_for_statistics": fewest_cases(config, policy),
    }
    return config.model_copy(update={"exchange": config.exchange.model_copy(update=wanted)})


def answer_with_work(desk: Desk, letter: Received, run_task: RunTask) -> Content:
    """Carry out an order.

    Raises:
        RefusalError: If the order is not the next of the plan, or the result holds what may not leave.
        ExchangeError: If the order cannot be read.
    """
    site, config, run = desk.site, desk.config, letter.envelope.run
    check_order_bytes(letter.num_bytes, config, desk.policy)
    order, weights = decode_order(letter.content)
    policy = reply_policy(config, site.role, order, weights, desk.policy)
    book = admitted(
        read_book(site.workspace, run),
        letter.envelope,
        order,
        weights,
        letter.base,
        site=site,
        config=config,
        policy=desk.policy,
    )
    policy.check_bytes(policy.weight_bytes, sent_before=book.sent_bytes)  # hours of work would be for nothing
    write_book(site.workspace, run, book)

    def work() -> SiteReply:
        reply = policy.withhold(run_task(site, policy.narrowed(config), order, weights))
        policy.check(reply)
        return reply

    reply = carried_out_once(site.workspace, run, order, letter.payload, work)
    policy.check(reply)  # one that was given before as well: the hospital may have changed its mind
    content = encode_reply(reply)
    policy.check_bytes(num_bytes(content), sent_before=book.sent_bytes)
    facts = content_facts(reply.weights, reply.metrics) | {"cases": reply.num_examples}
    statement = replace(
        _statement(desk, letter, MessageKind.REPLY, content), phase=order.phase, server_round=order.server_round
    )
    return _release(desk, book, content, statement, facts)


def refuse(desk: Desk, letter: Received, words: str) -> str:
    """Sign, count and write down sealed words about what went wrong.

    They leave even when the run's budget is used up: a site that says nothing would be waited for.

    Returns:
        The words with the signature behind them.
    """
    statement = Statement(
        kind=MessageKind.REFUSAL,
        run=letter.envelope.run,
        site_id=desk.site.site_id,
        base=letter.payload,
        payload=words_digest(words),
    )
    text = signed_words(words, statement, desk.key)
    if (book := _known_book(desk, letter)) is not None:
        write_book(desk.site.workspace, statement.run, replace(book, sent_bytes=book.sent_bytes + len(text)))
    facts = message_facts(statement, desk.key.public, desk.key.sign(statement), len(text)) | {"words": words}
    desk.log.append(MESSAGE_SENT, facts)
    return text


def _known_book(desk: Desk, letter: Received) -> RunBook | None:
    """What the site knows of the letter's run; None as well if that is what went wrong."""
    try:
        return read_book(desk.site.workspace, letter.envelope.run)
    except (RefusalError, CheckpointError):
        return None


def _statement(desk: Desk, letter: Received, kind: MessageKind, content: Content) -> Statement:
    return Statement(
        kind=kind,
        run=letter.envelope.run,
        site_id=desk.site.site_id,
        base=letter.base if kind is MessageKind.REPLY else "",
        payload=content_digest(digests(content)),
    )


def _release(desk: Desk, book: RunBook, content: Content, statement: Statement, facts: Facts) -> Content:
    """Sign, count and write down; only then may it leave."""
    size = num_bytes(content)
    write_book(desk.site.workspace, statement.run, replace(book, sent_bytes=book.sent_bytes + size))
    said = message_facts(statement, desk.key.public, desk.key.sign(statement), size)
    desk.log.append(MESSAGE_SENT, said | facts)
    return signed(content, statement, desk.key)
