"""Scans that are there twice: they would count double, or be tested on what they trained."""

from __future__ import annotations

import numpy as np

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.data.intake.case_check import CheckedCase
from diffuse_uda.data.volumes import load_volume


class Copies:
    """The scans seen so far, by a digest of some of their voxels.

    Equal digests only raise the suspicion; both files are read once more then, and compared voxel by voxel.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._seen: dict[bytes, CheckedCase] = {}

    def copied(self, case: CheckedCase) -> BrokenRuleError | None:
        """Remember a scan; if it is the copy of an earlier one, say of which."""
        if case.scan is None:
            return None
        first = self._seen.setdefault(case.scan.digest, case)
        if first is case or not _is_same_scan(first, case):
            return None
        found = f"the same voxels as case {first.case_id} ({first.image.parent.name}/{first.image.name})"
        return BrokenRuleError("repeated-image", found=found)


def _is_same_scan(first: CheckedCase, second: CheckedCase) -> bool:
    return np.array_equal(load_volume(first.image).voxels, load_volume(second.image).voxels)
