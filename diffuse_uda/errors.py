"""Errors a user meets. Each says what is wrong, where, what was found, what was wanted, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DiffuseUdaError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(DiffuseUdaError):
    """A study description that cannot be run: unknown key, wrong type, contradictory values."""


class GeometryError(DiffuseUdaError):
    """Volumes whose grids do not belong together, or an affine that is no affine."""


class AggregationError(DiffuseUdaError):
    """Updates that must not be averaged; the message names the site and the tensor."""


class ExchangeError(DiffuseUdaError):
    """Something tried to leave a site that its exchange policy does not list."""


class RefusalError(ExchangeError):
    """An order a site does not carry out, or a reply it does not let out, with every broken rule at once."""

    def __init__(self, what: str, broken: Sequence[tuple[str, str]]) -> None:
        """Keep the rules; the words are for the log of whoever refuses.

        Args:
            what: What is refused.
            broken: Identifier of each broken rule, such as `foreign-tensor`, with what was found and wanted.
        """
        self.rules = tuple(rule for rule, _ in broken)
        super().__init__(f"{what}: {'; '.join(words for _, words in broken)}")


class AuditError(DiffuseUdaError):
    """An audit log that cannot be read or continued."""


class SiteTaskError(DiffuseUdaError):
    """A task failed at a site; the reason stays in that site's log."""


class StandstillError(SiteTaskError):
    """Work that has shown no progress for too long."""


class QuorumError(DiffuseUdaError):
    """Too few usable replies to go on."""


class CheckpointError(DiffuseUdaError):
    """A checkpoint that is missing, damaged, or belongs to another model."""


class ReleaseError(DiffuseUdaError):
    """What was about to be handed over is not what was meant when read back; nothing of it was left behind."""


class StorageError(DiffuseUdaError):
    """A disk that does not take what has to be kept; the message says what, why, and how much room there is."""


class InUseError(DiffuseUdaError):
    """A folder in which another run is at work; the message names its process."""


class MemoryEstimateError(DiffuseUdaError):
    """The planned work does not fit the device; the message names the size that would."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One rule that one input breaks."""

    rule: str
    """Identifier of the rule, such as `label-outside-map`."""
    centre: str
    """Site or folder the input belongs to."""
    found: str
    wanted: str
    fix: str
    case: str = "-"
    file: str = "-"

    def __str__(self) -> str:
        """Render as the block of lines a user reads."""
        return (
            f"[{self.rule}] centre {self.centre}, case {self.case}\n"
            f"  file:   {self.file}\n"
            f"  found:  {self.found}\n"
            f"  wanted: {self.wanted}\n"
            f"  fix:    {self.fix}"
        )


class InputError(DiffuseUdaError):
    """Input that stops a run before round 1, with every broken rule at once."""

    def __init__(self, findings: list[Finding], *, told: Sequence[str] = ()) -> None:
        """Keep the findings and render them all: one run should reveal every problem.

        Args:
            findings: Every broken rule.
            told: What may be said of them outside of the site; the rules alone, if not given.
        """
        self.findings = findings
        self.told = tuple(told)
        plural = "problem" if len(findings) == 1 else "problems"
        super().__init__(f"{len(findings)} {plural} in the input\n" + "\n".join(map(str, findings)))
