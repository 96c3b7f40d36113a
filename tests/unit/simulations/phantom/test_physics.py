from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffuse_uda.errors import ConfigError
from simulations.phantom.anatomy import Anatomy, Grid, render_anatomy
from simulations.phantom.centres import DEFAULT_CENTRES, SOURCE_T1W, TARGET_FLAIR, TARGET_PDW, TARGET_T2W, CentreRecipe
from simulations.phantom.physics import Scanner, add_rician_noise, bias_field, near_head, scan
from simulations.phantom.relaxation import FieldStrength
from simulations.phantom.sequences import TurboSpinEcho
from simulations.phantom.structures import Tissue
from simulations.phantom.subjects import draw_subject

GRID = Grid()
IDEAL = Scanner(
    sequence=TurboSpinEcho(tr_ms=4500.0, te_ms=100.0),
    field=FieldStrength.TESLA_1_5,
    psf_fwhm_mm=(0.0, 0.0, 0.0),
    bias_strength=0.0,
    snr=1e6,
)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return render_anatomy(draw_subject(np.random.default_rng(0)), GRID)


def image(anatomy: Anatomy, scanner: Scanner, *, seed: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return scan(anatomy, GRID, scanner, np.random.default_rng(seed))


def test_noise_without_signal_has_the_mean_of_a_rayleigh_distribution() -> None:
    air = np.zeros((40, 50, 50), np.float32)

    noise = add_rician_noise(air, sigma=2.0, rng=np.random.default_rng(0))

    # 100 000 samples of standard deviation 0.655 sigma: the mean is known to 0.2 %.
    assert noise.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    assert noise.min() >= 0.0


def test_noise_on_a_strong_signal_of_either_sign_has_the_spread_sigma_around_its_magnitude() -> None:
    signal = np.full((40, 50, 50), -100.0, np.float32)

    noisy = add_rician_noise(signal, sigma=2.0, rng=np.random.default_rng(0))

    assert noisy.mean() == pytest.approx(100.0, abs=0.1)
    assert noisy.std() == pytest.approx(2.0, rel=0.02)


def test_an_ideal_scanner_gives_every_pure_voxel_of_a_tissue_the_same_value(anatomy: Anatomy) -> None:
    voxels = image(anatomy, IDEAL)

    white = voxels[anatomy.fractions[Tissue.WHITE_MATTER] > 0.9999]
    assert white.size > 100
    np.testing.assert_allclose(white, white.mean(), rtol=1e-3)


def test_an_ideal_scanner_mixes_tissues_by_their_shares(anatomy: Anatomy) -> None:
    voxels = image(anatomy, IDEAL)
    tissues = [Tissue.WHITE_MATTER, Tissue.CORTICAL_GM, Tissue.CSF]
    pure = [voxels[anatomy.fractions[tissue] > 0.999].mean() for tissue in tissues]
    shares = np.stack([anatomy.fractions[tissue] for tissue in tissues])
    mixed = (shares.sum(axis=0) > 0.9999) & (shares.max(axis=0) < 0.7)

    expected = np.tensordot(pure, shares, axes=1)

    assert mixed.sum() > 100
    np.testing.assert_allclose(voxels[mixed], expected[mixed], rtol=5e-3)


@pytest.mark.parametrize(
    ("centre", "darkest_first"),
    [
        (SOURCE_T1W, [Tissue.CSF, Tissue.CORTICAL_GM, Tissue.WHITE_MATTER]),
        (TARGET_T2W, [Tissue.WHITE_MATTER, Tissue.CORTICAL_GM, Tissue.CSF]),
        (TARGET_FLAIR, [Tissue.CSF, Tissue.WHITE_MATTER, Tissue.CORTICAL_GM]),
        (TARGET_PDW, [Tissue.WHITE_MATTER, Tissue.CORTICAL_GM]),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_scan_looks_like_its_sequence(
    anatomy: Anatomy, centre: CentreRecipe, darkest_first: list[Tissue], seed: int
) -> None:
    """In shaded, noisy scans of a person whose tissues vary, without the blur that mixes thin cortex with fluid."""
    voxels = image(anatomy, replace(centre.scanner, psf_fwhm_mm=(0.0, 0.0, 0.0)), seed=seed)

    means = [float(np.average(voxels, weights=anatomy.fractions[tissue] > 0.95)) for tissue in darkest_first]

    assert means == sorted(means)


def test_the_psf_blurs_along_each_axis_by_its_own_width_and_keeps_the_sum(anatomy: Anatomy) -> None:
    sharp = image(anatomy, IDEAL)
    blurred = image(anatomy, replace(IDEAL, psf_fwhm_mm=(0.0, 0.0, 12.0)))

    def roughness(voxels: np.ndarray[tuple[int, ...], np.dtype[np.float32]], axis: int) -> float:
        return float(np.abs(np.diff(voxels, axis=axis)).sum())

    assert blurred.sum() == pytest.approx(sharp.sum(), rel=5e-3)
    assert roughness(blurred, 2) < 0.8 * roughness(sharp, 2)
    assert roughness(blurred, 2) / roughness(sharp, 2) < roughness(blurred, 0) / roughness(sharp, 0)


def test_no_bias_is_a_field_of_ones() -> None:
    np.testing.assert_array_equal(bias_field(GRID, strength=0.0, rng=np.random.default_rng(0)), 1.0)


def test_bias_has_its_strength_and_is_smooth() -> None:
    fields = [bias_field(GRID, strength=0.1, rng=np.random.default_rng(seed)) for seed in range(60)]

    assert np.std(np.log(fields)) == pytest.approx(0.1, rel=0.15)
    # Over 5 mm a wave of 180 mm and standard deviation 0.1 changes by at most 0.1 sqrt(12) 2 pi 5 / 180 = 0.06.
    assert max(np.abs(np.diff(np.log(field), axis=axis)).max() for field in fields for axis in range(3)) < 0.06


def test_air_far_from_the_head_is_zero_and_near_it_is_noise(anatomy: Anatomy) -> None:
    noisy = replace(IDEAL, snr=10.0, gain=1000.0)
    near = near_head(anatomy, GRID, margin_mm=10.0)

    voxels = image(anatomy, noisy)

    assert (voxels[~near] == 0.0).all()
    assert (voxels[near] > 0.0).all()
    assert 0.3 < near.mean() < 0.6


def test_near_the_head_is_a_matter_of_millimetres() -> None:
    air = np.ones((1, 1, 5), np.float32)
    air[0, 0, 0] = 0.4
    line = Anatomy(fractions={Tissue.AIR: air}, label_map=np.zeros((1, 1, 5), np.uint8))

    near = near_head(line, Grid(shape=(1, 1, 5), spacing_mm=(5.0, 5.0, 5.0)), margin_mm=10.0)

    # Voxels at 0, 5 and 10 mm.
    assert near.ravel().tolist() == [True, True, True, False, False]


def test_the_gain_scales_a_scan_and_nothing_else(anatomy: Anatomy) -> None:
    once, twice = (image(anatomy, replace(SOURCE_T1W.scanner, gain=gain)) for gain in (500.0, 1000.0))

    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-5)


def test_a_seed_gives_one_scan(anatomy: Anatomy) -> None:
    first, again, other = (image(anatomy, SOURCE_T1W.scanner, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("centre", DEFAULT_CENTRES, ids=lambda centre: centre.site_id)
def test_scans_are_finite_numbers_that_fit_sixteen_bits(anatomy: Anatomy, centre: CentreRecipe) -> None:
    voxels = image(anatomy, centre.scanner)

    assert voxels.dtype == np.float32
    assert np.isfinite(voxels).all()
    assert 100.0 < voxels.max() < 32767.0


@pytest.mark.parametrize("wrong", [{"snr": 0.0}, {"gain": -1.0}, {"bias_strength": -0.1}, {"psf_fwhm_mm": (1, -1, 1)}])
def test_a_scanner_that_cannot_exist_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="cannot exist"):
        replace(IDEAL, **wrong)  # type: ignore[arg-type]
