"""Where in a phase a step stands, and the learning rate it takes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from diffuse_uda.config import FitConfig

_CONSTANT_UNTIL = 0.6
_LAST_FRACTION = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundPlan:
    """The steps of one round as part of its phase: schedules run over the phase, not over a round."""

    num_local_steps: int
    first_step: int
    """Steps this phase had before this round, at this site."""
    total_steps: int
    """Steps of the whole phase, at one site."""
    learning_rate: float

    @classmethod
    def of(cls, fit: FitConfig, server_round: int, *, share: float = 1.0) -> RoundPlan:
        """Place round `server_round` (from 1) in the phase that `fit` configures; take `share` of its steps."""
        steps = max(1, round(fit.num_local_steps * share))
        return cls(
            num_local_steps=steps,
            first_step=(server_round - 1) * steps,
            total_steps=fit.num_rounds * steps,
            learning_rate=fit.learning_rate,
        )

    def scaled(self, factor: float) -> RoundPlan:
        """The same steps with every learning rate multiplied by `factor`."""
        return dataclasses.replace(self, learning_rate=self.learning_rate * factor)

    def progress(self, step: int) -> float:
        """Share of the phase done before local step `step` (from 0), in [0, 1)."""
        return (self.first_step + step) / self.total_steps

    def rate(self, step: int) -> float:
        """Learning rate: short linear warm-up, constant to 60 % of the phase, then linear to 2 %."""
        done = self.first_step + step
        warm_up = max(1, min(50, self.total_steps // 10))
        rise = min(1.0, (done + 1) / warm_up)
        fall = min(1.0, (1.0 - self.progress(step)) / (1.0 - _CONSTANT_UNTIL))
        return self.learning_rate * rise * max(_LAST_FRACTION, fall)
