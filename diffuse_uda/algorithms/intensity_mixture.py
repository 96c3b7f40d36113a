"""Sharpening of pseudo-labels by the scan's own intensities: a Gaussian mixture whose spatial prior is the network.

A network that has seen neither the scanner nor the sequence knows where structures are better than where they end.
The mixture learns what each structure looks like *here*, from this site's scans alone, and lets intensities decide
between the structures that the network thinks possible.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

NUM_BACKGROUND_COMPONENTS = 3
"""What is no structure is several things: fluid, skull, other tissue."""

STD_FLOOR = 0.08
"""Smallest standard deviation of a component, in intensities of [0, 1]: no class becomes a single grey value."""

PRIOR_FLOOR = 1e-3
"""Share of the prior that is spread over all classes: the network may be wrong."""

_START_QUANTILES = (0.15, 0.5, 0.9)


def sharpen_probabilities(
    images: Float[Tensor, voxel],
    probabilities: Float[Tensor, "voxel klass"],
    *,
    num_iterations: int = 12,
) -> Float[Tensor, "voxel klass"]:
    """Posterior of a Gaussian mixture with a spatial prior, by expectation maximisation (Ashburner and Friston 2005).

    The background has several components, every structure one. Means and variances are shared by all voxels given, so
    pass the foreground of all scans of one site together: after normalisation their intensities are comparable.

    Args:
        images: Foreground intensities in [0, 1].
        probabilities: The network's softmax at those voxels; class 0 is background.
        num_iterations: EM iterations; 0 returns the probabilities as they are.

    Returns:
        Posterior probabilities; they sum to 1 over `klass`.
    """
    if num_iterations == 0 or images.numel() == 0:
        return probabilities
    num_classes = probabilities.shape[1]
    values = images.double()
    prior = (1 - PRIOR_FLOOR) * probabilities.double() + PRIOR_FLOOR / num_classes
    component_class = torch.tensor([0] * NUM_BACKGROUND_COMPONENTS + list(range(1, num_classes)))
    spread = prior[:, component_class]
    share = spread.clone()
    share[:, :NUM_BACKGROUND_COMPONENTS] *= _first_guess(values, prior[:, 0])
    mixing = torch.ones(len(component_class), dtype=torch.float64)
    for _ in range(num_iterations):
        mass = share.sum(dim=0) + 1e-9
        means = (share * values[:, None]).sum(dim=0) / mass
        variances = (share * (values[:, None] - means).square()).sum(dim=0) / mass
        variances = variances.clamp_min(STD_FLOOR**2)
        background = mass[:NUM_BACKGROUND_COMPONENTS]
        mixing[:NUM_BACKGROUND_COMPONENTS] = background / background.sum()
        density = -0.5 * ((values[:, None] - means).square() / variances + variances.log())
        share = (density + spread.log() + mixing.log()).softmax(dim=1)
    posterior = torch.zeros_like(prior).index_add_(1, component_class, share)
    return posterior.to(probabilities)


def _first_guess(values: Tensor, background: Tensor) -> Tensor:
    """Split the background by intensity to begin with: dark, middle and bright."""
    likely = values[background > 0.5]
    centres = torch.quantile(
        (likely if likely.numel() else values)[: 2**20], torch.tensor(_START_QUANTILES, dtype=torch.float64)
    )
    return (-(values[:, None] - centres).square() / 0.02).softmax(dim=1)
