"""What a site tells of its intake gate: broken rules, and cases under names that only the site can read.

The salt stays at the site. Without it a told name leads to no case, and two sites that hold the same case tell
different names; with it the site finds the case in its own record.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Sequence

from diffuse_uda.errors import Finding
from diffuse_uda.exchange.rules import INPUT_RULES

SALT_BYTES = 32
MAX_TOLD = 16
"""More are summed up in one word: a message about a folder of broken scans must not become a listing of it."""
OTHER = "other"
_DIGITS = 16
_TOLD = re.compile(rf"(?P<rule>[a-z0-9-]+)(?: [0-9a-f]{{{_DIGITS}}})?")


def told_case(case_id: str, salt: bytes) -> str:
    """Name a case for the outside: HMAC-SHA256 of its id (RFC 2104), cut to 16 hexadecimal digits.

    Args:
        case_id: As the site calls the case.
        salt: Random bytes of the site's own, kept where nobody else reads.

    Raises:
        ValueError: If the salt is shorter than 32 bytes: ids are short, and a short salt could be tried out.
    """
    if len(salt) < SALT_BYTES:
        msg = f"a salt of {len(salt)} bytes; wanted at least {SALT_BYTES}"
        raise ValueError(msg)
    return hmac.new(salt, case_id.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def told_findings(findings: Sequence[Finding], salt: bytes) -> tuple[str, ...]:
    """Say of findings what may be told: rules, and salted names of cases.

    Args:
        findings: Of one centre.
        salt: Of the same site.

    Returns:
        `damaged-gzip 9c1f0a22b7d4e6f0`, or the rule alone where it is about no case; each once, in the findings' order.
    """
    return tuple(
        dict.fromkeys(
            finding.rule if finding.case == "-" else f"{finding.rule} {told_case(finding.case, salt)}"
            for finding in findings
        )
    )


def limited(told: Iterable[str], known: Collection[str] = INPUT_RULES) -> str:
    """Join what is told for a message; whatever has another form, or another rule, is only counted as `other`."""
    words = dict.fromkeys(word if is_told(word, known) else OTHER for word in told)
    kept = [word for word in words if word != OTHER]
    has_more = OTHER in words or len(kept) > MAX_TOLD
    return ", ".join([*sorted(kept[:MAX_TOLD]), *([OTHER] if has_more else [])])


def is_told(word: str, known: Collection[str]) -> bool:
    """Whether a word is a known rule, with or without a salted name."""
    found = _TOLD.fullmatch(word)
    return found is not None and found["rule"] in known
