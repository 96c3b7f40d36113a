"""What a tissue is to a scanner: relaxation times and proton density at 1.5 T and 3 T."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from simulations.phantom.structures import Tissue


class FieldStrength(StrEnum):
    """Static field of the scanner."""

    TESLA_1_5 = "1.5T"
    TESLA_3 = "3T"


@dataclass(frozen=True, kw_only=True, slots=True)
class Relaxation:
    """How the magnetisation of one tissue returns."""

    t1_ms: float
    """Longitudinal."""
    t2_ms: float
    """Transverse, spin echo."""
    t2_star_ms: float
    """Transverse, gradient echo."""
    proton_density: float
    """Relative to cerebrospinal fluid."""


_FLUID = Relaxation(t1_ms=4300.0, t2_ms=2000.0, t2_star_ms=1000.0, proton_density=1.0)
_AIR = Relaxation(t1_ms=1.0, t2_ms=1.0, t2_star_ms=1.0, proton_density=0.0)


def _table(
    *, grey: Relaxation, white: Relaxation, deep_grey: Relaxation, brainstem: Relaxation
) -> dict[Tissue, Relaxation]:
    return {
        Tissue.AIR: _AIR,
        Tissue.CSF: _FLUID,
        Tissue.BRAINSTEM: brainstem,
        Tissue.CEREBELLAR_GM: grey,
        Tissue.CEREBELLAR_WM: white,
        Tissue.CORTICAL_GM: grey,
        Tissue.WHITE_MATTER: white,
        Tissue.DEEP_GM: deep_grey,
        Tissue.VENTRICULAR_CSF: _FLUID,
    }


RELAXATION: dict[FieldStrength, dict[Tissue, Relaxation]] = {
    FieldStrength.TESLA_1_5: _table(
        grey=Relaxation(t1_ms=1197.0, t2_ms=95.0, t2_star_ms=84.0, proton_density=0.82),
        white=Relaxation(t1_ms=646.0, t2_ms=72.0, t2_star_ms=66.0, proton_density=0.71),
        deep_grey=Relaxation(t1_ms=1084.0, t2_ms=82.0, t2_star_ms=55.0, proton_density=0.79),
        brainstem=Relaxation(t1_ms=760.0, t2_ms=78.0, t2_star_ms=66.0, proton_density=0.74),
    ),
    FieldStrength.TESLA_3: _table(
        grey=Relaxation(t1_ms=1607.0, t2_ms=99.0, t2_star_ms=66.0, proton_density=0.82),
        white=Relaxation(t1_ms=838.0, t2_ms=69.0, t2_star_ms=53.0, proton_density=0.71),
        deep_grey=Relaxation(t1_ms=1332.0, t2_ms=76.0, t2_star_ms=32.0, proton_density=0.79),
        brainstem=Relaxation(t1_ms=980.0, t2_ms=74.0, t2_star_ms=53.0, proton_density=0.74),
    ),
}
"""Typical values of healthy adults.

T1 of grey matter, white matter and putamen: Wright et al. 2008 (MAGMA 21:121). T2 of grey and white matter: Stanisz
et al. 2005 (MRM 54:507). T2*: Peters et al. 2007 (MRI 25:748). T1 of fluid, the same at every field: Rooney et al.
2007 (MRM 57:308). Proton densities are rounded water contents. Those of the brainstem, the T2 of the deep nuclei and
the T2 and T2* of the fluid are this project's choice: between their neighbours, or long.
"""


def draw_relaxation(field: FieldStrength, rng: np.random.Generator) -> dict[Tissue, Relaxation]:
    """Give one person tissues of their own: T1 varies by 3 %, T2 and T2* by 4 %, proton density by 1.5 %."""
    return {tissue: _vary(typical, rng) for tissue, typical in RELAXATION[field].items()}


def _vary(typical: Relaxation, rng: np.random.Generator) -> Relaxation:
    t1, t2, t2_star, density = np.exp(rng.normal(size=4) * (0.03, 0.04, 0.04, 0.015)).tolist()
    return Relaxation(
        t1_ms=typical.t1_ms * t1,
        t2_ms=typical.t2_ms * t2,
        t2_star_ms=typical.t2_star_ms * t2_star,
        proton_density=typical.proton_density * density,
    )
