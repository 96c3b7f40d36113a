"""ASC+, federated: ASC with an adaptive window and augmentation (arXiv:2408.05985, section 3.1)."""

from __future__ import annotations

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import asc, source_only
from diffuse_uda.methods.phase import AdaptVariant, Method, evaluation

VARIANT = AdaptVariant(adaptive_window=True, augment=True)


def build(config: StudyConfig) -> Method:
    """Declare ASC+."""
    phases = (*source_only.build(config).phases, asc.adapt(config), evaluation("asc-plus"))
    return Method(name="asc-plus", phases=phases, adapt=VARIANT)
