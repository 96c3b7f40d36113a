"""Errors a user meets. Each says what is wrong, where, what was found, what was wanted, and what to do."""

from __future__ import annotations

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


class SiteTaskError(DiffuseUdaError):
    """A task failed at a site; the reason stays in that site's log."""


class QuorumError(DiffuseUdaError):
    """Too few usable replies to go on."""


class CheckpointError(DiffuseUdaError):
    """A checkpoint that is missing, damaged, or belongs to another model."""


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

    def __init__(self, findings: list[Finding]) -> None:
        """Keep the findings and render them all: one run should reveal every problem."""
        self.findings = findings
        plural = "problem" if len(findings) == 1 else "problems"
        super().__init__(f"{len(findings)} {plural} in the input\n" + "\n".join(map(str, findings)))
