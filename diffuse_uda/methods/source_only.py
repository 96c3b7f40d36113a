"""Source-only: train where the labels are, use everywhere. The floor every method has to beat."""

from __future__ import annotations

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods.phase import Exchange, Method, Phase, PhaseName, Task, evaluation
from diffuse_uda.types import ModelName, SiteRole


def warm_up(config: StudyConfig) -> Phase:
    """Supervised training at the source; the targets rest."""
    return Phase(
        name=PhaseName.WARM_UP,
        model=ModelName.SEGMENTER,
        tasks={SiteRole.SOURCE: Task.WARM_UP},
        exchange=Exchange.WEIGHTS,
        num_rounds=config.warm_up.num_rounds,
    )


def build(config: StudyConfig) -> Method:
    """Declare source-only; with random looks in the warm-up it is the strongest thing one site can do alone."""
    row = "source-only-random-conv" if config.warm_up.random_look_share > 0 else "source-only"
    return Method(name="source-only", phases=(warm_up(config), evaluation(row)))
