"""What the gate has found at one centre, case by case."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from diffuse_uda.data.formats.nnunet import CentreFolder
from diffuse_uda.data.intake.case_check import CheckedCase
from diffuse_uda.data.rules import Reaction, reaction_to
from diffuse_uda.errors import Finding
from diffuse_uda.types import SiteRole


class Verdict(StrEnum):
    """How a centre or a case has passed."""

    FINE = "fine"
    LOOK = "look"
    """Goes on, but somebody should look: something was quarantined, or there are warnings."""
    QUARANTINED = "quarantined"
    """A case that is taken out."""
    REFUSED = "refused"
    """A centre that cannot take part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseReport:
    """One case and everything that was found about it."""

    checked: CheckedCase
    findings: tuple[Finding, ...]
    """Of this case, from its own files and from the comparison with the others."""

    @property
    def verdict(self) -> Verdict:
        """Whether the case takes part."""
        reactions = {reaction_to(finding.rule) for finding in self.findings}
        if reactions - {Reaction.WARN, Reaction.NOTE}:
            return Verdict.QUARANTINED
        return Verdict.LOOK if Reaction.WARN in reactions else Verdict.FINE


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeReport:
    """A centre as it came out of the gate."""

    centre: CentreFolder
    """Without the cases that are quarantined; the training labels of a target are out of reach."""
    role: SiteRole
    findings: tuple[Finding, ...] = ()
    """Everything, in the order of the folder, whatever the number of workers."""
    cases: tuple[CaseReport, ...] = ()
    """All cases whose image could be listed, quarantined ones included; training cases first."""

    def with_reaction(self, *reactions: Reaction) -> list[Finding]:
        """Findings with one of these reactions."""
        return [finding for finding in self.findings if reaction_to(finding.rule) in reactions]

    @property
    def refusals(self) -> list[Finding]:
        """Why the centre cannot take part; empty where it can."""
        return self.with_reaction(Reaction.RUN, Reaction.PAUSE)

    @property
    def quarantined(self) -> list[Finding]:
        """Why cases were taken out."""
        return self.with_reaction(Reaction.CASE)

    @property
    def warnings(self) -> list[Finding]:
        """What somebody should look at, though the run goes on."""
        return self.with_reaction(Reaction.WARN)

    @property
    def quarantined_cases(self) -> tuple[str, ...]:
        """Ids of the cases that are taken out, sorted, those whose image could not even be listed included."""
        return tuple(sorted({finding.case for finding in self.quarantined}))

    @property
    def verdict(self) -> Verdict:
        """How the centre has passed."""
        if self.refusals:
            return Verdict.REFUSED
        return Verdict.LOOK if self.quarantined or self.warnings else Verdict.FINE


def grouped_by_case(checked: Collection[CheckedCase], findings: Collection[Finding]) -> Iterator[CaseReport]:
    """Bring every case together with what was found about it."""
    of_case: dict[str, list[Finding]] = {}
    for finding in findings:
        of_case.setdefault(finding.case, []).append(finding)
    for case in checked:
        yield CaseReport(checked=case, findings=tuple(of_case.get(case.case_id, ())))
