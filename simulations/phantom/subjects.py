"""Who is scanned: the numbers and random fields that make one anatomy differ from the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulations.phantom.shapes import Vector, Waves, draw_waves


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One simulated person. Lengths are in mm of the person's own, upright frame unless said otherwise."""

    atrophy: float
    """Loss of tissue as in ageing, in [0, 1]: wider ventricles and sulci, a thinner cortex."""
    scale: Vector
    """Size relative to the template along x, y and z."""
    rotation_rad: Vector
    """Pitch, roll and yaw of the head in the scanner: rotations about x, y and z."""
    translation_mm: Vector
    """Where the head lies, relative to the centre of the field of view."""
    warp: tuple[Waves, Waves, Waves]
    """Displacement along x, y and z in units of `warp_mm`: long waves, the reason that left differs from right."""
    warp_mm: float
    folds: Waves
    """The sulci run along its zero crossings."""
    fold_wavelength_mm: float
    """Mean wavelength of `folds`; two sulci lie about half of it apart."""
    fold_depths: Waves
    """How much deeper (positive) or shallower a sulcus is than the mean, along its course."""
    sulcal_depth_mm: float
    sulcal_width_mm: float
    cortical_thickness_mm: float
    ventricle_radius_mm: float
    """Of the body of each lateral ventricle."""
    ventricle_asymmetry: float
    """Relative difference of the two lateral ventricles: left minus right over their mean."""
    nucleus_scale: float
    """Size of the deep nuclei relative to the template."""
    cerebellum_scale: float
    folia: Waves
    """Irregularity of the border between the grey and the white matter of the cerebellum."""
    csf_margin_mm: float
    """Thickness of the fluid between brain and dura."""


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw a person.

    Spreads are chosen to be of the order of healthy adults: 3 % of head size along each axis, ventricles that vary
    fivefold in volume and grow with age while the cortex thins.
    """
    atrophy = float(rng.uniform())
    fold_wavelength_mm = float(rng.uniform(34.0, 42.0))
    return Subject(
        atrophy=atrophy,
        scale=_draw_vector(rng, mean=(1.0, 1.0, 1.0), spread=(0.03, 0.03, 0.03)),
        rotation_rad=_draw_vector(rng, mean=(0.0, 0.0, 0.0), spread=(0.07, 0.05, 0.05)),
        translation_mm=_draw_vector(rng, mean=(0.0, 0.0, 3.0), spread=(1.5, 2.5, 2.0)),
        warp=(_draw_warp(rng), _draw_warp(rng), _draw_warp(rng)),
        warp_mm=float(rng.uniform(1.5, 2.5)),
        folds=draw_waves(rng, num_waves=40, wavelengths_mm=(0.85 * fold_wavelength_mm, 1.15 * fold_wavelength_mm)),
        fold_wavelength_mm=fold_wavelength_mm,
        fold_depths=draw_waves(rng, num_waves=8, wavelengths_mm=(50.0, 90.0)),
        sulcal_depth_mm=float(rng.uniform(11.0, 15.0)),
        sulcal_width_mm=1.5 + 1.5 * atrophy + float(rng.uniform(-0.3, 0.3)),
        cortical_thickness_mm=4.9 - 0.8 * atrophy + float(rng.uniform(-0.3, 0.3)),
        ventricle_radius_mm=5.0 + 4.0 * atrophy + float(rng.uniform(-0.8, 0.8)),
        ventricle_asymmetry=_clipped_normal(rng, spread=0.1),
        nucleus_scale=1.0 + _clipped_normal(rng, spread=0.05),
        cerebellum_scale=1.0 + _clipped_normal(rng, spread=0.04),
        folia=draw_waves(rng, num_waves=8, wavelengths_mm=(15.0, 30.0)),
        csf_margin_mm=2.5 + 1.5 * atrophy + float(rng.uniform(-0.4, 0.4)),
    )


def _draw_warp(rng: np.random.Generator) -> Waves:
    return draw_waves(rng, num_waves=6, wavelengths_mm=(90.0, 160.0))


def _draw_vector(rng: np.random.Generator, *, mean: Vector, spread: Vector) -> Vector:
    x, y, z = (middle + _clipped_normal(rng, spread=width) for middle, width in zip(mean, spread, strict=True))
    return x, y, z


def _clipped_normal(rng: np.random.Generator, *, spread: float) -> float:
    """Draw a normal number, held within two standard deviations: nobody may leave the field of view."""
    return spread * float(np.clip(rng.normal(), -2.0, 2.0))
