"""From an anatomy to a scan: contrast, point-spread function, coil shading, Rician noise, gain."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Spacing
from simulations.phantom.anatomy import Anatomy, Grid
from simulations.phantom.relaxation import RELAXATION, FieldStrength, draw_relaxation
from simulations.phantom.sequences import Sequence
from simulations.phantom.shapes import draw_waves
from simulations.phantom.structures import Tissue

FWHM_OF_UNIT_SIGMA = 2.0 * sqrt(2.0 * log(2.0))
"""Full width at half maximum of a Gaussian of standard deviation 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanner:
    """A machine and its protocol."""

    sequence: Sequence
    field: FieldStrength
    psf_fwhm_mm: Spacing = (3.0, 3.0, 3.0)
    """Width of the point-spread function along i, j and k, on top of the voxel itself; thick slices are long in k."""
    bias_strength: float = 0.1
    """Standard deviation of the logarithm of the receive field."""
    snr: float = 25.0
    """Signal of white matter over the standard deviation of the noise in each channel."""
    gain: float = 1000.0
    """Typical number that white matter gets in the file; it varies from scan to scan by 20 %."""

    def __post_init__(self) -> None:
        """Refuse what no scanner has."""
        if min(self.psf_fwhm_mm) < 0.0 or self.bias_strength < 0.0 or self.snr <= 0.0 or self.gain <= 0.0:
            msg = (
                f"scanner {self} cannot exist: wanted psf_fwhm_mm and bias_strength of at least 0, snr and gain above 0"
            )
            raise ConfigError(msg)


def scan(
    anatomy: Anatomy, grid: Grid, scanner: Scanner, rng: np.random.Generator, *, kept_margin_mm: float = 10.0
) -> npt.NDArray[np.float32]:
    """Take one image of one person.

    Args:
        anatomy: What lies in the scanner.
        grid: Its voxels.
        scanner: The machine; its `gain` and the person's tissues vary around the typical ones.
        rng: Source of tissues, gain, coil shading and noise.
        kept_margin_mm: Air further than this from the head is zeroed, as after skull stripping; the noise of the
            air nearer by is kept.

    Returns:
        Magnitudes of the grid's shape, at least 0, in the arbitrary unit of the scanner.
    """
    tissues = draw_relaxation(scanner.field, rng)
    reference = scanner.sequence.signal(RELAXATION[scanner.field][Tissue.WHITE_MATTER])
    clean = np.zeros(grid.shape, np.float32)
    for tissue, fraction in anatomy.fractions.items():
        clean += fraction * np.float32(scanner.sequence.signal(tissues[tissue]) / reference)
    sigma_voxels = [
        width / FWHM_OF_UNIT_SIGMA / step for width, step in zip(scanner.psf_fwhm_mm, grid.spacing_mm, strict=True)
    ]
    blurred: npt.NDArray[np.float32] = ndimage.gaussian_filter(clean, sigma_voxels, mode="constant")
    shaded = blurred * bias_field(grid, strength=scanner.bias_strength, rng=rng)
    noisy = add_rician_noise(shaded, sigma=1.0 / scanner.snr, rng=rng)
    gain = np.float32(scanner.gain * np.exp(0.2 * rng.normal()))
    return np.where(near_head(anatomy, grid, margin_mm=kept_margin_mm), noisy * gain, np.float32(0.0))


def bias_field(grid: Grid, *, strength: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw a smooth receive field around 1: exp(strength f), f a unit random field of 180 to 320 mm wavelength."""
    waves = draw_waves(rng, num_waves=6, wavelengths_mm=(180.0, 320.0))
    field: npt.NDArray[np.float32] = np.exp(np.float32(strength) * waves(grid.points()))
    return field


def add_rician_noise(
    signal: npt.NDArray[np.float32], *, sigma: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Take the magnitude of a signal with Gaussian noise in both channels: Gudbjartsson and Patz 1995 (MRM 34:910).

    Without signal the result is Rayleigh distributed, with mean sigma sqrt(pi / 2).
    """
    in_phase, quadrature = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
    magnitude: npt.NDArray[np.float32] = np.hypot(signal + in_phase, quadrature)
    return magnitude


def near_head(anatomy: Anatomy, grid: Grid, *, margin_mm: float) -> npt.NDArray[np.bool_]:
    """Voxels no further than `margin_mm` from one that isn't mostly air."""
    air = anatomy.fractions[Tissue.AIR] > 0.5
    distance_mm: npt.NDArray[np.float64] = ndimage.distance_transform_edt(air, sampling=grid.spacing_mm)
    return distance_mm <= margin_mm
