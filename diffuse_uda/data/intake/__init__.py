"""The gate: what a centre's folder must satisfy before round 1, and which of its cases take part."""

from __future__ import annotations

from diffuse_uda.data.intake.federation import check_federation
from diffuse_uda.data.intake.gate import check_centre, examine_centre
from diffuse_uda.data.intake.options import IntakeOptions
from diffuse_uda.data.intake.report import CaseReport, IntakeReport, Verdict

__all__ = [
    "CaseReport",
    "IntakeOptions",
    "IntakeReport",
    "Verdict",
    "check_centre",
    "check_federation",
    "examine_centre",
]
