"""Gap closed: which share of the way from source-only to target-supervised a method went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from diffuse_uda.reporting.rows import CEILING, FLOOR
from diffuse_uda.reporting.scores import mean_defined

SMALLEST_GAP = 0.01
"""Dice; a share of less than this would say more about noise than about a method."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """What there was to gain at one target."""

    floor: float | None
    """Dice of source-only."""
    ceiling: float | None
    """Dice of target-supervised."""
    undefined_because: str | None
    """Why no share can be given; None if it can."""

    def closed_by(self, dice: float | None) -> float | None:
        """Share of the gap that a method closed: (dice - floor) / (ceiling - floor).

        Negative if the method did harm, above 1 if it passed the reference; None where the share is undefined.
        """
        if dice is None or self.floor is None or self.ceiling is None or self.undefined_because is not None:
            return None
        return (dice - self.floor) / (self.ceiling - self.floor)


def measure_gap(dice_by_row: Mapping[str, float | None]) -> Gap:
    """Compare the floor and the ceiling of one target.

    Args:
        dice_by_row: Mean Dice of every method row at this target; rows may be missing or None.
    """
    floor, ceiling = dice_by_row.get(FLOOR), dice_by_row.get(CEILING)
    return Gap(floor=floor, ceiling=ceiling, undefined_because=_obstacle(floor, ceiling))


def _obstacle(floor: float | None, ceiling: float | None) -> str | None:
    if floor is None:
        return f"no {FLOOR} row"
    if ceiling is None:
        return f"no {CEILING} row"
    # A difference of decimal fractions is a little off; nine digits are still far below any score's own noise.
    if (difference := round(ceiling - floor, 9)) < SMALLEST_GAP:
        return f"{CEILING} is only {difference:+.3f} Dice from {FLOOR}; a share needs at least {SMALLEST_GAP:g}"
    return None


def closed_mean(shares: Iterable[float | None]) -> float | None:
    """Average the defined shares over the targets; None if there is none."""
    return mean_defined(shares)


def closed_worst(shares: Iterable[float | None]) -> float | None:
    """Give the smallest defined share over the targets; None if there is none."""
    return min((share for share in shares if share is not None), default=None)
