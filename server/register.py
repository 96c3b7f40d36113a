"""The register of letters: what goes out is written down, what comes back is written down and has to bear a signature.

A site's public key comes with its card and is pinned to the site's name for the whole run, restarts included. Nothing
else of a message is opened before its signature is found good.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.storage import written_patiently
from diffuse_uda.errors import CheckpointError
from diffuse_uda.exchange.audit import AuditLog
from diffuse_uda.exchange.audit_entries import (
    MESSAGE_RECEIVED,
    MESSAGE_REFUSED,
    ORDER_SENT,
    QUESTION_SENT,
    UPDATE_REFUSED,
    Facts,
    message_facts,
    order_facts,
)
from diffuse_uda.exchange.envelopes import (
    Content,
    Envelope,
    Signature,
    base_digest,
    content_digest,
    digests,
    in_envelope,
    name_in,
    place_of,
    split_words,
    take_signature,
    words_digest,
)
from diffuse_uda.exchange.flower import INTRODUCE, num_bytes
from diffuse_uda.exchange.sealing import is_sealed
from diffuse_uda.exchange.signing import MessageKind, Statement, Verdict, fingerprint, is_signed_by
from server.history import Event, SiteReplied, SiteState
from server.journal import PATIENCE_S
from server.letters import Answer, Letter, Outcome

logger = logging.getLogger(__name__)

AUDIT_LOG = "audit.jsonl"
KEYS_FILE = "site-keys.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Expected:
    """What the answer to a letter has to be about."""

    message_type: str
    payload: str
    base: str
    phase: str
    server_round: int


class Register:
    """Every letter of one run, with the keys of its sites."""

    def __init__(self, run_dir: Path, *, run: str, plan: str, fall_backs: int = 0) -> None:
        """Go on with the register of a run, or begin one.

        Args:
            run_dir: The run's folder; made if missing.
            run: Identifier of the run.
            plan: Hash of the study (`plan_hash`).
            fall_backs: How often the run has gone back behind finished rounds (`Resumption.fall_backs`).

        Raises:
            CheckpointError: If the file of pinned keys cannot be read.
        """
        self._envelope = Envelope(run=run, plan=plan, fall_backs=fall_backs)
        self._log = AuditLog(run_dir / AUDIT_LOG, side="server")
        self._keys_file = run_dir / KEYS_FILE
        self._keys = _pinned_keys(self._keys_file, run)
        self._sites: dict[int, str] = {}
        self._expected: dict[str, _Expected] = {}
        self._answered: set[tuple[str, str, int]] = set()

    def stamp(self, content: Content) -> Content:
        """Put a letter into an envelope."""
        return in_envelope(content, self._envelope)

    def sent(self, letter: Letter, message_type: str, content: Content) -> None:
        """Write down a letter that has gone out."""
        if letter.message_id is None:
            return
        records = digests(content)
        phase, server_round = place_of(content)
        expected = _Expected(
            message_type=message_type,
            payload=content_digest(records),
            base=base_digest(records),
            phase=phase,
            server_round=server_round,
        )
        self._expected[letter.message_id] = expected
        facts = order_facts(
            run=self._envelope.run,
            fall_backs=self._envelope.fall_backs,
            site_id=self._sites.get(letter.node_id, ""),
            message_type=message_type,
            payload=expected.payload,
            base=expected.base,
            num_bytes=num_bytes(content),
        )
        self._note(QUESTION_SENT if message_type == INTRODUCE else ORDER_SENT, facts)

    def judged(self, letter: Letter, answer: Answer) -> Answer:
        """Look at an answer's signature: the answer itself, or one that says why it is not taken."""
        expected = self._expected.pop(letter.message_id or "", None)
        if answer.content is None and not answer.is_from_site:
            return answer  # nothing that a site has said
        if expected is None:
            return _refused(answer, Verdict.REPLAYED)
        if answer.content is None:
            return self._judged_words(answer, expected)
        signature = take_signature(answer.content)
        payload = content_digest(digests(answer.content))
        is_card = expected.message_type == INTRODUCE
        kind = MessageKind.CARD if is_card else MessageKind.REPLY
        base = "" if is_card else expected.base
        wanted = replace(self._statement(expected, kind, base, payload), site_id=self._site_of(answer, signature, kind))
        verdict = self._verdict(signature, wanted)
        if verdict is None and is_card and name_in(answer.content) != wanted.site_id:
            verdict = Verdict.BAD_SIGNATURE
        self._write(signature, wanted, num_bytes(answer.content), verdict)
        if verdict is not None:
            return _refused(answer, verdict)
        if is_card and signature is not None:
            self._pin(answer.node_id, signature)
        else:
            self._answered.add((wanted.site_id, wanted.phase, wanted.server_round))
        return answer

    def hear(self, event: Event) -> None:
        """Write down an update whose message was good and whose content was refused."""
        if not isinstance(event, SiteReplied) or event.record.state is not SiteState.REJECTED:
            return
        if event.record.sha256:  # else the message itself was refused, and that is written already
            facts = {
                "run": self._envelope.run,
                "site": event.site_id,
                "phase": event.phase,
                "round": event.server_round,
                "payload": event.record.sha256,
                "why": event.record.reason,
            }
            self._note(UPDATE_REFUSED, facts)

    def _judged_words(self, answer: Answer, expected: _Expected) -> Answer:
        words, signature = split_words(answer.reason)
        wanted = replace(
            self._statement(expected, MessageKind.REFUSAL, expected.payload, words_digest(words)),
            site_id=self._site_of(answer, signature, MessageKind.REFUSAL),
            phase="",
            server_round=0,
        )
        if answer.outcome is Outcome.UNASSIGNED:
            return replace(answer, reason="this node plays no site yet")
        verdict = None
        if signature is not None or wanted.site_id in self._keys:
            verdict = self._verdict(signature, wanted)
        # Without a signature, and before it is known: it could not even read its own key.
        if verdict is None and not is_sealed(words, expected.message_type):
            verdict = Verdict.NOT_SEALED
        if signature is not None or verdict is not None:
            self._write(signature, wanted, len(answer.reason), verdict)
        if verdict is None:
            return replace(answer, reason=words)
        return replace(answer, reason=f"it failed; its words are not repeated ({verdict.value})")

    def _statement(self, expected: _Expected, kind: MessageKind, base: str, payload: str) -> Statement:
        return Statement(
            kind=kind,
            run=self._envelope.run,
            site_id="",
            phase=expected.phase,
            server_round=expected.server_round,
            base=base,
            payload=payload,
        )

    def _site_of(self, answer: Answer, signature: Signature | None, kind: MessageKind) -> str:
        """Who the node is; until it has introduced itself, who it says it is."""
        known = self._sites.get(answer.node_id)
        if known is None and signature is not None and kind is not MessageKind.REPLY:
            return signature.site_id
        return known or ""

    def _verdict(self, signature: Signature | None, wanted: Statement) -> Verdict | None:
        if signature is None:
            return Verdict.UNSIGNED
        pinned = self._keys.get(wanted.site_id)
        if pinned is None and wanted.kind is MessageKind.REPLY:
            return Verdict.UNKNOWN_KEY
        if signature.site_id != wanted.site_id or (pinned is not None and pinned != signature.public_key):
            return Verdict.UNKNOWN_KEY
        said = signature.statement(wanted.kind, wanted.payload)
        if not is_signed_by(signature.public_key, signature.signature, said):
            return Verdict.BAD_SIGNATURE
        place = (wanted.phase, wanted.server_round)
        checks = (
            (said.run == wanted.run, Verdict.OTHER_RUN),
            ((said.phase, said.server_round) == place, Verdict.REPLAYED),
            (said.base == wanted.base, Verdict.WRONG_BASE),
            (wanted.kind is not MessageKind.REPLY or (wanted.site_id, *place) not in self._answered, Verdict.REPLAYED),
        )
        return next((verdict for is_good, verdict in checks if not is_good), None)

    def _write(self, signature: Signature | None, wanted: Statement, size: int, verdict: Verdict | None) -> None:
        if signature is None:
            facts = {"run": wanted.run, "site": wanted.site_id, "message": wanted.kind.value, "payload": wanted.payload}
        else:
            said = replace(signature.statement(wanted.kind, wanted.payload))
            facts = message_facts(said, signature.public_key, signature.signature, size)
        if verdict is None:
            self._note(MESSAGE_RECEIVED, facts)
        else:
            self._note(MESSAGE_REFUSED, facts | {"why": verdict.value, "from": wanted.site_id})

    def _note(self, event: str, facts: Facts) -> None:
        """Write an entry; a disk that is full is waited for."""
        written_patiently(lambda: self._log.append(event, facts), self._keys_file.parent, patience_s=PATIENCE_S)

    def _pin(self, node_id: int, signature: Signature) -> None:
        site_id = self._sites[node_id] = signature.site_id
        if site_id in self._keys:
            return
        logger.info("site %s signs with the key %s", site_id, fingerprint(signature.public_key))
        self._keys[site_id] = signature.public_key
        keys = {name: key.hex() for name, key in self._keys.items()}
        text = json.dumps({"run": self._envelope.run, "keys": keys}, indent=1) + "\n"

        def write() -> None:
            with replaced_atomically(self._keys_file) as draft:
                draft.write_text(text, encoding="utf-8")

        written_patiently(write, self._keys_file, needed_bytes=len(text), patience_s=PATIENCE_S)


def _pinned_keys(path: Path, run: str) -> dict[str, bytes]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {name: bytes.fromhex(key) for name, key in said["keys"].items()} if said["run"] == run else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} cannot be read: {type(error).__name__}: {error}; the keys of the sites are pinned there"
        raise CheckpointError(msg) from error


def _refused(answer: Answer, verdict: Verdict) -> Answer:
    reason = f"its message is not taken: {verdict.value}"
    return replace(answer, outcome=Outcome.REFUSED, content=None, reason=reason)
