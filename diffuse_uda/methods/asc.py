"""ASC, federated: appearance and structure consistency with a mean teacher (arXiv:2310.14172).

Phase by phase:

    warm-up     source: supervised
    adapt       source: Dice(S(xs), ys) + Dice(S(xs2t), ys);   target: lambda * cross-paired consistency;   average
    evaluate
"""

from __future__ import annotations

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import source_only
from diffuse_uda.methods.phase import AdaptVariant, Exchange, Method, Phase, PhaseName, Task, evaluation
from diffuse_uda.types import ModelName, SiteRole

VARIANT = AdaptVariant(adaptive_window=False, augment=False)


def adapt(config: StudyConfig) -> Phase:
    """Federated rounds: the source keeps the model supervised, the targets pull it towards consistency."""
    return Phase(
        name=PhaseName.ADAPT,
        model=ModelName.SEGMENTER,
        tasks={SiteRole.SOURCE: Task.ADAPT_SOURCE, SiteRole.TARGET: Task.ADAPT_TARGET},
        exchange=Exchange.WEIGHTS,
        num_rounds=config.adapt.num_rounds,
    )


def build(config: StudyConfig) -> Method:
    """Declare ASC."""
    phases = (*source_only.build(config).phases, adapt(config), evaluation("asc"))
    return Method(name="asc", phases=phases, adapt=VARIANT)
