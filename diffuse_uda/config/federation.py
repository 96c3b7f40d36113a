"""What is exchanged, who has to answer and for how long one waits, and what sites compute with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffuse_uda.config.base import NonNegativeInt, PositiveFloat, PositiveInt, Section
from diffuse_uda.types import AverageRule

MIN_TARGETS_OF_ROBUST_RULE = 3
"""Targets without which a robust rule is no other than the mean."""


class ExchangeConfig(Section):
    """What this study asks to exchange. A site's own policy may allow less, never more."""

    allow_style_blocks: bool = False
    """Whether a site may publish one mean amplitude block (needed by the style provider `mean-block`)."""
    allow_fingerprints: bool = False
    """Whether sites say what their scans are like in nine numbers (`data.fingerprint`), for a common plan."""
    max_message_bytes: PositiveInt = 2_000_000_000
    """Largest message of a site, and largest order it takes."""
    max_run_bytes: PositiveInt = 200_000_000_000
    """Everything that one site sends in one run."""
    min_cases_for_statistics: PositiveInt = 3
    """Scores, and rows of the class table, over fewer cases than this never leave a site."""


class FederationConfig(Section):
    """Who has to answer, for how long the server waits, and how the answers become one model."""

    min_targets: PositiveInt = 1
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the asked targets that must reply in a round; the source always must where it is asked."""
    join_timeout_s: PositiveFloat = 600.0
    """Gathering: how long the server waits for sites to appear, before round 1 and for one that is away later on."""
    idle_timeout_s: PositiveFloat = 1800.0
    """Silence: how long a working site may show no progress, and how long it may be out of reach. A site that shows
    progress is not given up before `round_timeout_s`, however long it works."""
    round_timeout_s: PositiveFloat = 24 * 3600.0
    """Hard limit of a round, whatever its sites show; an order and its reply are void after it."""
    rule: AverageRule = AverageRule.MEAN
    """`trimmed-mean` and `median` bound what a single target can do; they need three targets and ignore cases."""
    max_cases: PositiveInt = 10_000
    """A site counts as at most this many cases in an average, whatever it says when it introduces itself."""

    @model_validator(mode="after")
    def _rule_has_enough_targets(self) -> FederationConfig:
        if self.rule is not AverageRule.MEAN and self.min_targets < MIN_TARGETS_OF_ROBUST_RULE:
            msg = (
                f"federation.rule = {self.rule} needs federation.min-targets of at least {MIN_TARGETS_OF_ROBUST_RULE}, "
                f"found {self.min_targets}: of two values the middle one is their mean, and nothing is left to trim"
            )
            raise ValueError(msg)
        return self


class ComputeConfig(Section):
    """How a site uses its machine."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: bool = True
    """bf16 autocast on a GPU; a CPU always computes in float32."""
    compile: bool = False
    activation_checkpointing: bool = False
    num_threads: NonNegativeInt = 0
    """Threads of one site's computations on a CPU; 0 takes every core."""
