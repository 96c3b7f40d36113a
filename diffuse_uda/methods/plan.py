"""A plan and nothing else: sites introduce themselves with fingerprints, the server derives the grid, the run ends.

The study that follows names the plan's keys, so its hash can be read, approved and checked by every site before any
training begins.
"""

from __future__ import annotations

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods.phase import Method


def build(config: StudyConfig) -> Method:  # noqa: ARG001 - every method is built from the configuration
    """Declare a run without rounds."""
    return Method(name="plan", phases=())
