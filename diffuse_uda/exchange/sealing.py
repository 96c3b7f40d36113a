"""What a site says when it fails: which task and which kind of error, and not one word of the error itself."""

from __future__ import annotations

import builtins
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from diffuse_uda import errors
from diffuse_uda.errors import DiffuseUdaError, InputError, RefusalError, SiteTaskError
from diffuse_uda.exchange.intake_words import OTHER, is_told, limited
from diffuse_uda.exchange.rules import INPUT_RULES, REFUSAL_RULES

logger = logging.getLogger(__name__)

_SEALED = re.compile(r"(?P<kind>[A-Za-z]+)(?: \[(?P<rules>[a-z0-9, -]+)\])?; the reason is in this site's log")


@contextmanager
def sealed(task: str) -> Iterator[None]:
    """Keep an exception's words at the site: Flower sends `str(exception)` to the server, and a path names a patient.

    The whole error goes to the site's log. What is raised instead names the task and a kind of error that this
    project or Python defines; for refused input, orders and replies, the identifiers of the broken rules, and for
    refused input the salted names of the cases.
    KeyboardInterrupt and SystemExit pass, they carry nothing.

    Args:
        task: Name of the task, chosen by the program.

    Raises:
        SiteTaskError: If the block raised an `Exception`; without cause, so that no report repeats it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DiffuseUdaError):
            logger.error("task %s refused: %s", task, error)  # noqa: TRY400 - these errors explain themselves
        else:
            logger.exception("task %s failed", task)
        msg = f"{task} failed: {_kind(error)}; the reason is in this site's log"
        raise SiteTaskError(msg) from None


def is_sealed(words: str, task: str) -> bool:
    """Whether words are of the kind that `sealed` says about a task; whoever receives others must not repeat them."""
    found = _SEALED.fullmatch(words.removeprefix(start)) if words.startswith(start := f"{task} failed: ") else None
    if found is None or not any(hasattr(module, found["kind"]) for module in (builtins, errors)):
        return False
    told = (found["rules"] or OTHER).split(", ")
    return all(word in REFUSAL_RULES | {OTHER} or is_told(word, INPUT_RULES) for word in told)


def _kind(error: Exception) -> str:
    """Name the nearest public class of an error, and the broken rules of refused input.

    A class can be made at run time with any name, hence the way up to one that this project or Python defines.
    """
    known = next(base for base in type(error).__mro__ if _is_public(base))
    if isinstance(error, InputError):
        return f"{known.__name__} [{limited(error.told or [finding.rule for finding in error.findings])}]"
    if isinstance(error, RefusalError):
        return f"{known.__name__} [{limited(error.rules, REFUSAL_RULES)}]"
    return known.__name__


def _is_public(kind: type) -> bool:
    return any(getattr(module, kind.__name__, None) is kind for module in (builtins, errors))
