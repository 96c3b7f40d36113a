"""The words a method is written in: phase, task, method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from diffuse_uda.types import ModelName, SiteRole


class PhaseName(StrEnum):
    """One named part of a method."""

    WARM_UP = "warm-up"
    ADAPT = "adapt"
    PSEUDO_LABEL = "pseudo-label"
    DIFFUSE = "diffuse"
    SYNTHESISE = "synthesise"
    REFINE = "refine"
    EVALUATE = "evaluate"


class Task(StrEnum):
    """What a site can be asked to do in a round. The values are Flower actions, hence Python identifiers."""

    WARM_UP = "warm_up"
    """Source: supervised steps on its own labelled scans."""
    ADAPT_SOURCE = "adapt_source"
    """Source: supervised steps on its scans and on their appearance-aligned copies."""
    ADAPT_TARGET = "adapt_target"
    """Target: cross-paired consistency with the mean teacher."""
    PSEUDO_LABEL = "pseudo_label"
    """Target, local: label its training scans with the last global models."""
    DIFFUSE = "diffuse"
    """Both: steps of the denoiser on (image, label map or pseudo-label)."""
    SYNTHESISE = "synthesise"
    """Both, local: render pairs with the averaged generator; they never leave."""
    REFINE_SOURCE = "refine_source"
    """Source: supervised steps on real and synthetic pairs."""
    REFINE_TARGET = "refine_target"
    """Target: supervised steps on its synthetic pairs, consistency on its scans."""
    EVALUATE = "evaluate"
    """Any site with held-out labels: scores of the adapted segmenter. The only task that reads a target's labels."""


class Exchange(StrEnum):
    """What comes back from a phase's tasks."""

    WEIGHTS = "weights"
    """The model that was sent, trained: it is averaged."""
    NOTHING = "nothing"
    """The work stays at the site; only a count and allowed scalars are reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One part of a method: which model goes out, who does what with it, what comes back, how often."""

    name: PhaseName
    model: ModelName
    """The global model every participant receives."""
    tasks: Mapping[SiteRole, Task]
    """Roles that are not listed rest."""
    exchange: Exchange
    num_rounds: int
    row: str = ""
    """For an evaluation: the method whose result this is, as in `results.json`."""
    pass_index: int = 0
    """Which pass over the generator's phases this is (0 before and in the first one)."""

    @property
    def label(self) -> str:
        """Unique name of this phase within its method, for journals and folders."""
        suffix = f"-{self.row}" if self.row else f"-{self.pass_index + 1}" if self.pass_index else ""
        return f"{self.name.value}{suffix}"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptVariant:
    """What tells ASC+ from ASC (table "What ASC+ adds" of arXiv:2408.05985)."""

    adaptive_window: bool
    """FDA window from the distance of the histograms instead of a fixed share."""
    augment: bool
    """Intensity augmentation of every batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """The ordered phases that make one system."""

    name: str
    phases: tuple[Phase, ...]
    adapt: AdaptVariant = field(default_factory=lambda: AdaptVariant(adaptive_window=True, augment=True))

    def __post_init__(self) -> None:
        """Refuse two phases of one label: a journal could not tell them apart."""
        labels = [phase.label for phase in self.phases]
        if len(set(labels)) != len(labels):
            msg = f"method {self.name}: phase labels repeat: {labels}"
            raise ValueError(msg)


def evaluation(row: str, *, pass_index: int = 0) -> Phase:
    """Scores of the current segmenter at every site that holds labelled test scans, reported as `row`."""
    return Phase(
        name=PhaseName.EVALUATE,
        model=ModelName.SEGMENTER,
        tasks={SiteRole.SOURCE: Task.EVALUATE, SiteRole.TARGET: Task.EVALUATE},
        exchange=Exchange.NOTHING,
        num_rounds=1,
        row=row,
        pass_index=pass_index,
    )
