from __future__ import annotations

from math import cos, exp, log, radians, sin

import pytest

from simulations.phantom.centres import SOURCE_T1W, TARGET_FLAIR, TARGET_PDW, TARGET_T2W, CentreRecipe
from simulations.phantom.relaxation import RELAXATION, FieldStrength, Relaxation
from simulations.phantom.sequences import (
    InversionRecovery,
    MagnetisationPreparedGradientEcho,
    SpoiledGradientEcho,
    TurboSpinEcho,
    nulling_inversion_time_ms,
)
from simulations.phantom.structures import Tissue

TISSUE = Relaxation(t1_ms=1000.0, t2_ms=100.0, t2_star_ms=50.0, proton_density=0.8)


def test_a_spin_echo_of_a_rested_tissue_at_echo_time_zero_is_its_proton_density() -> None:
    assert TurboSpinEcho(tr_ms=1e6, te_ms=0.0).signal(TISSUE) == pytest.approx(0.8)


def test_a_spin_echo_halves_after_t2_times_log_two() -> None:
    assert TurboSpinEcho(tr_ms=1e6, te_ms=100.0 * log(2)).signal(TISSUE) == pytest.approx(0.4)


def test_a_spin_echo_recovers_half_after_t1_times_log_two() -> None:
    assert TurboSpinEcho(tr_ms=1000.0 * log(2), te_ms=0.0).signal(TISSUE) == pytest.approx(0.4)


def test_a_gradient_echo_is_largest_at_the_ernst_angle() -> None:
    # cos(a) = exp(-TR / T1) = exp(-0.1): 25.2 degrees.
    signals = {angle: SpoiledGradientEcho(tr_ms=100.0, te_ms=0.0, flip_angle_deg=angle) for angle in (20.0, 25.2, 30.0)}

    best = max(signals, key=lambda angle: signals[angle].signal(TISSUE))

    assert best == 25.2


def test_a_gradient_echo_at_a_right_angle_is_saturation_recovery() -> None:
    echo = SpoiledGradientEcho(tr_ms=1000.0, te_ms=50.0, flip_angle_deg=90.0)

    assert echo.signal(TISSUE) == pytest.approx(0.8 * (1 - exp(-1)) * exp(-1))


def test_mprage_is_the_steady_state_that_pulse_by_pulse_simulation_reaches() -> None:
    mprage = MagnetisationPreparedGradientEcho(
        tr_ms=2300.0, ti_ms=900.0, te_ms=3.0, flip_angle_deg=9.0, echo_spacing_ms=7.0, num_echoes=160
    )

    def recover(magnetisation: float, duration_ms: float) -> float:
        return 1 + (magnetisation - 1) * exp(-duration_ms / TISSUE.t1_ms)

    magnetisation, middle = 1.0, 0.0
    for _ in range(30):
        magnetisation = recover(-magnetisation, 900.0 - 560.0)
        for echo in range(160):
            if echo == 80:
                middle = magnetisation
            magnetisation = recover(magnetisation * cos(radians(9)), 7.0)
        magnetisation = recover(magnetisation, 2300.0 - 900.0 - 560.0)

    assert mprage.signal(TISSUE) == pytest.approx(0.8 * sin(radians(9)) * middle * exp(-3 / 50), rel=1e-9)


def test_inversion_recovery_changes_sign_at_the_nulling_time() -> None:
    null_ms = nulling_inversion_time_ms(t1_ms=1000.0, tr_ms=9000.0)

    early, at_null, late = (
        InversionRecovery(tr_ms=9000.0, ti_ms=null_ms * factor, te_ms=10.0).signal(TISSUE) for factor in (0.9, 1.0, 1.1)
    )

    # With a TR of nine T1 this is nearly the T1 log(2) of a rested tissue.
    assert null_ms == pytest.approx(1000.0 * log(2), rel=1e-3)
    assert early < 0.0 < late
    assert at_null == pytest.approx(0.0, abs=1e-12)


def brightness(centre: CentreRecipe) -> dict[str, float]:
    tissues = RELAXATION[centre.scanner.field]
    return {
        short: abs(centre.scanner.sequence.signal(tissues[tissue]))
        for short, tissue in (("WM", Tissue.WHITE_MATTER), ("GM", Tissue.CORTICAL_GM), ("CSF", Tissue.CSF))
    }


@pytest.mark.parametrize(
    ("centre", "darkest_first"),
    [
        (SOURCE_T1W, ["CSF", "GM", "WM"]),
        (TARGET_T2W, ["WM", "GM", "CSF"]),
        (TARGET_FLAIR, ["CSF", "WM", "GM"]),
        (TARGET_PDW, ["CSF", "WM", "GM"]),
    ],
)
def test_tissues_are_ordered_as_in_the_weighting_a_centre_claims(
    centre: CentreRecipe, darkest_first: list[str]
) -> None:
    signals = brightness(centre)

    assert sorted(signals, key=signals.__getitem__) == darkest_first


def test_a_spoiled_gradient_echo_with_a_short_tr_is_t1_weighted_too() -> None:
    echo = SpoiledGradientEcho(tr_ms=18.0, te_ms=4.0, flip_angle_deg=25.0)
    tissues = RELAXATION[FieldStrength.TESLA_3]

    white, grey, fluid = (echo.signal(tissues[t]) for t in (Tissue.WHITE_MATTER, Tissue.CORTICAL_GM, Tissue.CSF))

    assert white > grey > fluid


def test_flair_hides_the_fluid_that_t2w_shows_brightest() -> None:
    assert brightness(TARGET_FLAIR)["CSF"] < 0.01 * brightness(TARGET_T2W)["CSF"]
