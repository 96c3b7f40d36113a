"""Pseudo-labels sharpened by what structures look like at this site."""

import torch

from diffuse_uda.algorithms.intensity_mixture import sharpen_probabilities


def _two_tissues() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Structure 1 of intensity 0.3 and structure 2 of intensity 0.7, 500 voxels each, and 200 of dark background.

    The network knows the place of nine voxels in ten; of the rest it is undecided, slightly for the wrong one.
    """
    generator = torch.Generator().manual_seed(0)
    truth = torch.cat([torch.zeros(200), torch.ones(500), torch.full((500,), 2.0)]).long()
    images = torch.tensor([0.1, 0.3, 0.7])[truth] + 0.03 * torch.randn(1200, generator=generator)
    probabilities = torch.full((1200, 3), 0.05)
    probabilities[torch.arange(1200), truth] = 0.9
    unsure = torch.arange(1200) % 10 == 0
    probabilities[unsure] = torch.tensor([0.02, 0.48, 0.5])
    probabilities[unsure & (truth == 2)] = torch.tensor([0.02, 0.5, 0.48])
    return images.clamp(0, 1), probabilities, truth


def test_intensities_decide_where_the_network_cannot() -> None:
    images, probabilities, truth = _two_tissues()
    structures = truth > 0
    before = (probabilities.argmax(1) == truth)[structures].float().mean()
    after = (sharpen_probabilities(images, probabilities).argmax(1) == truth)[structures].float().mean()
    assert abs(float(before) - 0.9) < 1e-6
    assert float(after) > 0.99


def test_a_sure_network_is_believed_whatever_the_intensity() -> None:
    images, _, truth = _two_tissues()
    probabilities = torch.nn.functional.one_hot(truth, 3).float()
    images[300] = 0.5  # one voxel of structure 1, two and a half standard deviations too bright
    assert int(sharpen_probabilities(images, probabilities)[300].argmax()) == 1


def test_probabilities_sum_to_one() -> None:
    images, probabilities, _ = _two_tissues()
    total = sharpen_probabilities(images, probabilities).sum(1)
    torch.testing.assert_close(total, torch.ones(1200))


def test_no_iterations_and_no_voxels_change_nothing() -> None:
    images, probabilities, _ = _two_tissues()
    assert sharpen_probabilities(images, probabilities, num_iterations=0).equal(probabilities)
    assert sharpen_probabilities(images[:0], probabilities[:0]).shape == (0, 3)
