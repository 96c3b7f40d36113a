"""The one way in which reading a file fails: a rule, what was found, what was wanted, what to do."""

from __future__ import annotations

from diffuse_uda.errors import DiffuseUdaError, Finding


class BrokenRuleError(DiffuseUdaError):
    """One rule that one file or folder breaks, before it is known whose case it is.

    Readers of single files do not know the centre or the case; the gate does, and turns this into a `Finding`.
    """

    def __init__(self, rule: str, *, found: str, wanted: str, fix: str) -> None:
        """Keep the parts for the gate and join them for everyone else."""
        self.rule = rule
        self.found = found
        self.wanted = wanted
        self.fix = fix
        super().__init__(f"[{rule}] found: {found}; wanted: {wanted}; fix: {fix}")

    def at(self, *, centre: str, case: str = "-", file: str = "-") -> Finding:
        """Say where it happened."""
        return Finding(
            rule=self.rule, centre=centre, case=case, file=file, found=self.found, wanted=self.wanted, fix=self.fix
        )
