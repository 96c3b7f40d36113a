from __future__ import annotations

import numpy as np

from simulations.phantom.subjects import draw_subject


def test_a_seed_draws_one_person() -> None:
    first, again, other = (draw_subject(np.random.default_rng(seed)) for seed in (5, 5, 6))

    assert first.scale == again.scale
    np.testing.assert_array_equal(first.folds.phases, again.folds.phases)
    assert first.scale != other.scale


def test_everybody_is_within_the_stated_spreads() -> None:
    people = [draw_subject(np.random.default_rng(seed)) for seed in range(200)]

    assert all(0.0 <= person.atrophy <= 1.0 for person in people)
    # No one is drawn beyond two standard deviations: 6 % of size, 0.14 rad of pitch, 5 mm of shift.
    assert all(0.94 <= factor <= 1.06 for person in people for factor in person.scale)
    assert max(abs(person.rotation_rad[0]) for person in people) <= 0.14
    assert max(abs(person.translation_mm[1]) for person in people) <= 5.0


def test_atrophy_widens_what_is_fluid_and_thins_the_cortex() -> None:
    people = sorted((draw_subject(np.random.default_rng(seed)) for seed in range(200)), key=lambda who: who.atrophy)
    young, old = people[:50], people[-50:]

    assert max(who.ventricle_radius_mm for who in young) < min(who.ventricle_radius_mm for who in old) + 1.6
    for wider in ("ventricle_radius_mm", "sulcal_width_mm", "csf_margin_mm"):
        assert np.mean([getattr(who, wider) for who in young]) < np.mean([getattr(who, wider) for who in old])
    assert np.mean([who.cortical_thickness_mm for who in young]) > np.mean([who.cortical_thickness_mm for who in old])
