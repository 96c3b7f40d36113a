"""Methods as studies declare them, for tests of their phases."""

from __future__ import annotations

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Method
from diffuse_uda.types import Scalar


def built(method: str, **flat: Scalar) -> Method:
    """A method after a plain warm-up, whatever the preset says about it."""
    return build_method(StudyConfig.from_flat({"method": method, "warm-up.random-look-share": 0.0, **flat}))


def labels(method: Method) -> list[str]:
    """Labels of its phases, in order."""
    return [phase.label for phase in method.phases]
