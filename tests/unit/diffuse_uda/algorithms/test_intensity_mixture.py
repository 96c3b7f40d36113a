"""Pseudo-labels sharpened by what structures look like at this site."""

import torch
from torch import Tensor

from diffuse_uda.algorithms.intensity_mixture import sharpen_probabilities

SHAPE = (10, 12, 10)


def _two_tissues(*, shading: float = 0.0, unsure_every: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Structures 1 and 2 of intensity 0.3 and 0.7, in alternating layers along i, behind two dark layers of background.

    The network knows the place of most voxels; of one in `unsure_every` it is undecided, slightly for the wrong
    one. The shading rises from 1 - shading to 1 + shading along j.
    """
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(SHAPE).long()
    truth[:, 2:] = (1 + torch.arange(SHAPE[0]) % 2)[:, None, None]
    field = 1.0 + shading * torch.linspace(-1.0, 1.0, SHAPE[1])[None, :, None]
    image = (torch.tensor([0.1, 0.3, 0.7])[truth] + 0.03 * torch.randn(SHAPE, generator=generator)) * field
    probabilities = torch.full((3, *SHAPE), 0.05)
    probabilities.scatter_(0, truth[None], 0.9)
    unsure = (torch.arange(truth.numel()) % unsure_every == 0).view(SHAPE)
    for structure, wrong in ((1, [0.02, 0.48, 0.5]), (2, [0.02, 0.5, 0.48])):
        probabilities[:, unsure & (truth == structure)] = torch.tensor(wrong)[:, None]
    return image.clamp(1e-3, 1.0)[None], probabilities, truth


def _right(probabilities: Tensor, truth: Tensor) -> float:
    return float((probabilities.argmax(0) == truth)[truth > 0].float().mean())


def test_intensities_decide_where_the_network_cannot() -> None:
    image, probabilities, truth = _two_tissues()
    assert abs(_right(probabilities, truth) - 0.9) < 1e-6
    (sharpened,) = sharpen_probabilities([image], [probabilities])
    assert _right(sharpened, truth) > 0.99


def test_shading_is_told_from_tissue() -> None:
    # at the dark end structure 2 has 0.7 * 0.45, at the bright end structure 1 has 0.3 * 1.55: the order is lost
    image, probabilities, truth = _two_tissues(shading=0.55, unsure_every=2)
    (flat,) = sharpen_probabilities([image], [probabilities], shading_sigma_voxels=0.0)
    (lit,) = sharpen_probabilities([image], [probabilities], shading_sigma_voxels=2.0)
    assert _right(flat, truth) < 0.97
    assert _right(lit, truth) > 0.99


def test_each_scan_has_its_own_shading() -> None:
    image, probabilities, truth = _two_tissues(shading=0.55, unsure_every=2)
    mirrored = [tensor.flip(-2) for tensor in (image, probabilities, truth)]
    both = sharpen_probabilities([image, mirrored[0]], [probabilities, mirrored[1]], shading_sigma_voxels=2.0)
    assert _right(both[0], truth) > 0.99
    assert _right(both[1], mirrored[2]) > 0.99


def test_a_sure_network_is_believed_whatever_the_intensity() -> None:
    image, _, truth = _two_tissues()
    probabilities = torch.nn.functional.one_hot(truth, 3).movedim(-1, 0).float()
    image[0, 0, 5, 5] = 0.5  # a voxel of structure 1, six standard deviations too bright
    (sharpened,) = sharpen_probabilities([image], [probabilities], shading_sigma_voxels=0.0)
    assert int(sharpened[:, 0, 5, 5].argmax()) == int(truth[0, 5, 5]) == 1


def test_probabilities_sum_to_one_and_air_keeps_its_own() -> None:
    image, probabilities, _ = _two_tissues()
    image[0, 3] = 0.0
    (sharpened,) = sharpen_probabilities([image], [probabilities])
    torch.testing.assert_close(sharpened.sum(0), torch.ones(SHAPE))
    assert sharpened[:, 3].equal(probabilities[:, 3])


def test_no_iterations_and_no_voxels_change_nothing() -> None:
    image, probabilities, _ = _two_tissues()
    assert sharpen_probabilities([image], [probabilities], num_iterations=0)[0] is probabilities
    assert sharpen_probabilities([], []) == []
    assert sharpen_probabilities([torch.zeros_like(image)], [probabilities])[0].equal(probabilities)
