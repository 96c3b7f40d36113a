"""The words a method is written in: phase, task, method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from diffuse_uda.types import ModelName, SiteRole


class PhaseName(StrEnum):
    """One named part of a method."""

    WARM_UP = "warm-up"
    ADAPT = "adapt"
    ADAPT_LOCALLY = "adapt-locally"
    PSEUDO_LABEL = "pseudo-label"
    DESCRIBE = "describe"
    KEEP_TABLE = "keep-table"
    RECOLOUR = "recolour"
    RELABEL = "relabel"
    DIFFUSE = "diffuse"
    SYNTHESISE = "synthesise"
    REFINE = "refine"
    TRANSLATE = "translate"
    ENSEMBLE = "ensemble"
    EVALUATE = "evaluate"


class Task(StrEnum):
    """What a site can be asked to do in a round. The values are Flower actions, hence Python identifiers."""

    WARM_UP = "warm_up"
    """Source: supervised steps on its own labelled scans."""
    ADAPT_SOURCE = "adapt_source"
    """Source: supervised steps on its scans and on their appearance-aligned copies."""
    ADAPT_TARGET = "adapt_target"
    """Target: cross-paired consistency with the mean teacher."""
    ADAPT_LOCALLY = "adapt_locally"
    """Target, local: adapt the shipped segmenter alone and keep it."""
    PSEUDO_LABEL = "pseudo_label"
    """Local: label the training scans that have no label map with the last global models."""
    DESCRIBE = "describe"
    """Both: what its classes look like, into its row of the generator's class table; nothing is trained."""
    KEEP_TABLE = "keep_table"
    """Source, local: keep the rows of all sites."""
    RECOLOUR = "recolour"
    """Source: supervised steps on its scans in a target's class contrast, field of view and sizes of structures."""
    DIFFUSE = "diffuse"
    """Both: steps of the denoiser on (image, label map or pseudo-label)."""
    SYNTHESISE = "synthesise"
    """Both, local: render pairs with the averaged generator; they never leave."""
    REFINE_SOURCE = "refine_source"
    """Source: supervised steps on real and synthetic pairs."""
    REFINE_TARGET = "refine_target"
    """Target: supervised steps on its synthetic pairs, consistency on its scans."""
    TRANSLATE = "translate"
    """Both, local: its scans in another domain's look and back; they never leave."""
    ENSEMBLE = "ensemble"
    """Both: self-ensembling between the looks of its scans; at the source with its labels."""
    EVALUATE = "evaluate"
    """Any site with held-out labels: scores of the received segmenter. Only evaluations read a target's labels."""
    EVALUATE_LOCALLY = "evaluate_locally"
    """Target with held-out labels: scores of the segmenter it adapted alone."""


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
    """Which repetition of its part of the method this is, from 0: a turn of recolouring, a pass of the generator."""
    per_target: bool = False
    """Whether every target has rounds of its own with the source, and from then on a model of its own."""
    after: str = ""
    """Method that came before, where a second one follows in the same run."""
    partner: int | None = None
    """Domain of the one target that takes part, once a phase per target has been written out (`for_targets`)."""

    @property
    def label(self) -> str:
        """Unique name of this phase within its method, for journals and folders."""
        suffix = f"-{self.row}" if self.row else f"-{self.pass_index + 1}" if self.pass_index else ""
        after = f"-after-{self.after}" if self.after else ""
        partner = "" if self.partner is None else f"-for-{self.partner}"
        return f"{self.name.value}{suffix}{after}{partner}"

    @property
    def checkpoint(self) -> str:
        """Name of the model that this phase trains, in a run's folder."""
        return self.model.value if self.partner is None else f"{self.model.value}-{self.partner}"


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


def for_targets(method: Method, num_targets: int) -> Method:
    """Write out the phases that every target has for itself, one after the other in the order of the domains."""
    phases: list[Phase] = []
    for phase in method.phases:
        partners = range(1, num_targets + 1) if phase.per_target else ()
        phases += [replace(phase, partner=partner) for partner in partners] or [phase]
    return replace(method, phases=tuple(phases))


def evaluation(row: str, *, pass_index: int = 0, target_task: Task = Task.EVALUATE, asks_source: bool = True) -> Phase:
    """Scores of the current segmenter at every site that holds labelled test scans, reported as `row`.

    Args:
        row: Name of the row in `results.json`.
        pass_index: Which pass over the generator's phases it follows.
        target_task: What a target scores: what it receives, or what it adapted alone.
        asks_source: Whether the source scores the model that all sites share; False where every target has its own, and
            that row would only repeat an earlier one.
    """
    return Phase(
        name=PhaseName.EVALUATE,
        model=ModelName.SEGMENTER,
        tasks=({SiteRole.SOURCE: Task.EVALUATE} if asks_source else {}) | {SiteRole.TARGET: target_task},
        exchange=Exchange.NOTHING,
        num_rounds=1,
        row=row,
        pass_index=pass_index,
    )
