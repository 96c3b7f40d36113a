from __future__ import annotations

import numpy as np
import pytest

from simulations.phantom.relaxation import RELAXATION, FieldStrength, draw_relaxation
from simulations.phantom.structures import Tissue

SOLID = [Tissue.CORTICAL_GM, Tissue.WHITE_MATTER, Tissue.DEEP_GM, Tissue.BRAINSTEM]


@pytest.mark.parametrize("field", FieldStrength)
def test_every_tissue_has_values_and_only_air_has_no_protons(field: FieldStrength) -> None:
    assert set(RELAXATION[field]) == set(Tissue)
    assert [tissue for tissue, values in RELAXATION[field].items() if values.proton_density == 0] == [Tissue.AIR]


@pytest.mark.parametrize("tissue", SOLID)
def test_a_stronger_field_lengthens_t1_and_shortens_t2_star(tissue: Tissue) -> None:
    low, high = RELAXATION[FieldStrength.TESLA_1_5][tissue], RELAXATION[FieldStrength.TESLA_3][tissue]

    assert low.t1_ms < high.t1_ms
    assert low.t2_star_ms > high.t2_star_ms


@pytest.mark.parametrize("field", FieldStrength)
@pytest.mark.parametrize("tissue", SOLID)
def test_t2_star_is_below_t2_and_t2_below_t1(field: FieldStrength, tissue: Tissue) -> None:
    values = RELAXATION[field][tissue]

    assert values.t2_star_ms < values.t2_ms < values.t1_ms


def test_people_vary_around_the_typical_values() -> None:
    rng = np.random.default_rng(0)
    typical = RELAXATION[FieldStrength.TESLA_3][Tissue.WHITE_MATTER]

    drawn = [draw_relaxation(FieldStrength.TESLA_3, rng)[Tissue.WHITE_MATTER] for _ in range(1000)]

    for name, spread in (("t1_ms", 0.03), ("t2_ms", 0.04), ("t2_star_ms", 0.04), ("proton_density", 0.015)):
        logs = np.log([getattr(values, name) / getattr(typical, name) for values in drawn])
        assert abs(logs.mean()) < 4 * spread / np.sqrt(1000)
        assert logs.std() == pytest.approx(spread, rel=0.1)
