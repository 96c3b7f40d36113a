"""The one way in which reading a file fails: a rule of the table, what was found, what was wanted, what to do."""

from __future__ import annotations

from diffuse_uda.data.rules import RULES
from diffuse_uda.errors import DiffuseUdaError, Finding


class BrokenRuleError(DiffuseUdaError):
    """One rule that one file or folder breaks, before it is known whose case it is.

    Readers of single files do not know the centre or the case; the gate does, and turns this into a `Finding`.
    """

    def __init__(self, rule: str, *, found: str, wanted: str | None = None, fix: str | None = None) -> None:
        """Keep the parts for the gate and join them for everyone else.

        Args:
            rule: Slug of a rule of the table (`diffuse_uda.data.rules`).
            found: What was found.
            wanted: The table's words, unless they can be said with the numbers at hand.
            fix: The same for what to do.
        """
        self.rule = rule
        self.found = found
        self.wanted = RULES[rule].wanted if wanted is None else wanted
        self.fix = RULES[rule].fix if fix is None else fix
        super().__init__(f"[{rule}] found: {found}; wanted: {self.wanted}; fix: {self.fix}")

    def at(self, *, centre: str, case: str = "-", file: str = "-") -> Finding:
        """Say where it happened."""
        return Finding(
            rule=self.rule, centre=centre, case=case, file=file, found=self.found, wanted=self.wanted, fix=self.fix
        )
