"""Sharpening of pseudo-labels by the scan's own intensities: a Gaussian mixture whose spatial prior is the network.

A network that has seen neither the scanner nor the sequence knows where structures are better than where they end.
The mixture learns what each structure looks like *here*, from this site's scans alone, and lets intensities decide
between the structures that the network thinks possible. Every scan has a smooth shading of its own (receive coils),
which is estimated along the way: without it, white matter of one side looks like grey matter of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy import ndimage, special
from torch import Tensor

NUM_BACKGROUND_COMPONENTS = 3
"""What is no structure is several things: fluid, skull, other tissue."""

STD_FLOOR = 0.06
"""Smallest standard deviation of a component, in intensities of [0, 1]: no class becomes a single grey value."""

PRIOR_FLOOR = 1e-3
"""Share of the prior that is spread over all classes: the network may be wrong."""

FIRST_SHADED_ITERATION = 2
"""Shading is estimated once the components have found their places."""

BACKGROUND_TRUST = 0.2
"""How much a background voxel tells about the shading, beside one of a structure: its components are crude."""

SHADING_RANGE = (0.4, 2.5)

_START_QUANTILES = (0.15, 0.5, 0.9)
_START_WIDTH = 0.02
_LARGEST_SAMPLE = 2**20

Voxels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Components of all scans together: first the background's, then one a structure."""

    means: Voxels
    variances: Voxels
    shares: Voxels
    """Mixing proportions within the background; 1 for a structure, whose proportion is the prior's business."""


@dataclass(slots=True)
class _Scan:
    """Foreground of one scan."""

    inside: npt.NDArray[np.bool_]
    values: Voxels
    """Intensities, one a voxel of the foreground."""
    prior: Voxels
    """Of shape (component, voxel)."""
    shading: Voxels
    """Factor of every voxel."""


def sharpen_probabilities(
    images: Sequence[Float[Tensor, "1 i j k"]],
    probabilities: Sequence[Float[Tensor, "klass i j k"]],
    *,
    num_iterations: int = 12,
    shading_sigma_voxels: float = 4.0,
) -> list[Float[Tensor, "klass i j k"]]:
    """Posterior of a Gaussian mixture with a spatial prior and a bias field, by expectation maximisation.

    Spatial prior and mixture as in unified segmentation (Ashburner and Friston 2005), the field as the smoothed ratio
    of what is seen to what the components predict (Wells et al. 1996, with a multiplicative field). The background has
    several components, every structure one. Means and variances are shared by all scans, because normalised intensities
    of one site are comparable; each scan has its own field. One scan at a time is in memory beside the inputs.

    Args:
        images: Normalised intensities in [0, 1] of all scans of one site; zero is air and keeps its probabilities.
        probabilities: The network's softmax of each; class 0 is background.
        num_iterations: EM iterations; 0 returns the probabilities as they are.
        shading_sigma_voxels: Width of the Gaussian that smooths the field; 0 takes all scans as evenly lit.

    Returns:
        Posterior probabilities of every scan; they sum to 1 over `klass`.
    """
    if num_iterations == 0 or not images:
        return list(probabilities)
    num_classes = probabilities[0].shape[0]
    class_of = np.array([0] * NUM_BACKGROUND_COMPONENTS + list(range(1, num_classes)))
    scans = [_scan(image, volume, class_of) for image, volume in zip(images, probabilities, strict=True)]
    if not any(scan.values.size for scan in scans):
        return list(probabilities)
    mixture = _fitted((scan, share) for scan, share in zip(scans, _first_shares(scans), strict=True))
    for iteration in range(num_iterations):
        is_shaded = iteration >= FIRST_SHADED_ITERATION and shading_sigma_voxels > 0
        for scan in scans if is_shaded else ():
            _estimate_shading(scan, mixture, shading_sigma_voxels)
        if iteration < num_iterations - 1:
            mixture = _fitted((scan, _responsibilities(scan, mixture)) for scan in scans)
    return [_posterior(scan, mixture, volume, class_of) for scan, volume in zip(scans, probabilities, strict=True)]


def _scan(
    image: Float[Tensor, "1 i j k"], probabilities: Float[Tensor, "klass i j k"], class_of: npt.NDArray[np.int64]
) -> _Scan:
    """Foreground of a scan, with the prior of every component: a class's components share its probability."""
    inside = (image[0] > 0).numpy()
    prior = probabilities[:, torch.from_numpy(inside)].float().numpy()
    prior = np.asarray((1.0 - PRIOR_FLOOR) * prior + PRIOR_FLOOR / len(prior), dtype=np.float32)
    values = image[0].float().numpy()[inside]
    return _Scan(inside=inside, values=values, prior=prior[class_of], shading=np.ones_like(values))


def _first_shares(scans: Sequence[_Scan]) -> Iterator[Voxels]:
    """The prior, its background split by intensity to begin with: dark, middle and bright."""
    likely = np.concatenate([scan.values[scan.prior[0] > 0.5] for scan in scans])
    values = likely if likely.size else np.concatenate([scan.values for scan in scans])
    centres = np.quantile(values[:_LARGEST_SAMPLE], _START_QUANTILES)[:, None]
    for scan in scans:
        split = _softmax((-((scan.values - centres) ** 2) / _START_WIDTH).astype(np.float32))
        share = scan.prior.copy()
        share[:NUM_BACKGROUND_COMPONENTS] *= split
        yield share


def _fitted(shares_of_scans: Iterable[tuple[_Scan, Voxels]]) -> _Mixture:
    """M step: weighted moments of the evenly lit intensities over all scans."""
    moments: npt.NDArray[np.float64] | float = 0.0
    for scan, share in shares_of_scans:
        lit = (scan.values / scan.shading).astype(np.float64)
        moments = moments + np.stack([share.sum(axis=1, dtype=np.float64), share @ lit, share @ lit**2])
    mass, first, second = np.asarray(moments)
    mass = mass + 1e-9
    means = first / mass
    variances = np.maximum(second / mass - means**2, STD_FLOOR**2)
    shares = np.ones_like(mass)
    background = mass[:NUM_BACKGROUND_COMPONENTS]
    shares[:NUM_BACKGROUND_COMPONENTS] = background / background.sum()
    return _Mixture(*(part.astype(np.float32)[:, None] for part in (means, variances, shares)))


def _responsibilities(scan: _Scan, mixture: _Mixture) -> Voxels:
    """E step: share of every component in every voxel."""
    lit = scan.values / scan.shading
    density = -0.5 * ((lit - mixture.means) ** 2 / mixture.variances + np.log(mixture.variances))
    return _softmax(density + np.log(scan.prior * mixture.shares))


def _estimate_shading(scan: _Scan, mixture: _Mixture, sigma_voxels: float) -> None:
    """Least squares for a factor that varies slowly: seen against predicted, both smoothed with the same weights."""
    precision = _responsibilities(scan, mixture) / mixture.variances
    precision[:NUM_BACKGROUND_COMPONENTS] *= BACKGROUND_TRUST
    predicted = (precision * mixture.means).sum(axis=0)
    seen_smooth, predicted_smooth = (
        _smoothed(part, scan.inside, sigma_voxels)
        for part in (predicted * scan.values, (precision * mixture.means**2).sum(axis=0))
    )
    # Where hardly anything is known the factor goes to one.
    little = 1e-3 * predicted_smooth.max(initial=0.0) + 1e-9
    scan.shading = np.clip((seen_smooth + little) / (predicted_smooth + little), *SHADING_RANGE)


def _smoothed(values: Voxels, inside: npt.NDArray[np.bool_], sigma_voxels: float) -> Voxels:
    volume = np.zeros(inside.shape, dtype=np.float32)
    volume[inside] = values
    smooth = ndimage.gaussian_filter(volume, sigma_voxels, mode="constant", truncate=3.0)
    return np.asarray(smooth[inside], dtype=np.float32)


def _posterior(
    scan: _Scan, mixture: _Mixture, probabilities: Float[Tensor, "klass i j k"], class_of: npt.NDArray[np.int64]
) -> Float[Tensor, "klass i j k"]:
    """Sum the components of every class; air keeps what the network said."""
    by_class = np.zeros((probabilities.shape[0], scan.values.size), dtype=np.float32)
    np.add.at(by_class, class_of, _responsibilities(scan, mixture))
    sharpened = probabilities.clone()
    sharpened[:, torch.from_numpy(scan.inside)] = torch.from_numpy(by_class).to(probabilities)
    return sharpened


def _softmax(logits: Voxels) -> Voxels:
    return np.asarray(special.softmax(logits, axis=0), dtype=np.float32)
