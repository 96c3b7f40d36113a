"""Shipped and adapted: the source ships its model once, every target adapts it alone, nothing comes back.

Phase by phase:

    warm-up         source: supervised
    evaluate
    adapt-locally   targets: pseudo-labels of the shipped model, supervised steps on them, consistency;   no exchange
    evaluate        source: the shipped model;   targets: their own

What a hospital could do today without any federation, with the steps that it takes in one.
"""

from __future__ import annotations

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import source_only
from diffuse_uda.methods.phase import Exchange, Method, Phase, PhaseName, Task, evaluation
from diffuse_uda.types import ModelName, SiteRole


def build(config: StudyConfig) -> Method:
    """Declare shipped-and-adapted."""
    adapt_locally = Phase(
        name=PhaseName.ADAPT_LOCALLY,
        model=ModelName.SEGMENTER,
        tasks={SiteRole.TARGET: Task.ADAPT_LOCALLY},
        exchange=Exchange.NOTHING,
        num_rounds=1,
    )
    scored = evaluation("shipped-and-adapted", target_task=Task.EVALUATE_LOCALLY)
    return Method(name="shipped-and-adapted", phases=(*source_only.build(config).phases, adapt_locally, scored))
