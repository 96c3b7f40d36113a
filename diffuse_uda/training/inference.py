"""Probabilities of a whole volume, whatever its size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffuse_uda.algorithms.intensity_mixture import sharpen_probabilities
from diffuse_uda.config import ComputeConfig, GridConfig, StudyConfig
from diffuse_uda.training.device import autocast


def label_probabilities(
    model: nn.Module, image: Float[Tensor, "1 i j k"], config: StudyConfig
) -> Float[Tensor, "klass i j k"]:
    """Probabilities that a scan is labelled by: the network's answer, seconded by the scan's own intensities.

    Args and device: as `predict_both_ways`.
    """
    return second_by_intensities(predict_probabilities(model, image, config.grid, config.compute), image, config)


def second_by_intensities(
    answer: Float[Tensor, "klass i j k"], image: Float[Tensor, "1 i j k"], config: StudyConfig
) -> Float[Tensor, "klass i j k"]:
    """Weighted mean of an answer and of what this scan's intensities make of it (`prediction.mixture-share`).

    A network knows where structures are, the scan itself knows where they end. No other scan has a say, so the
    labels of a scan do not depend on what else is labelled.

    Args:
        answer: The network's softmax; class 0 is background.
        image: Intensities in [0, 1] on the working grid; zero is air and keeps the answer.
        config: Share, iterations and width of the shading.

    Returns:
        Probabilities that sum to 1 over `klass`; the answer itself where the share is 0.
    """
    share = config.prediction.mixture_share
    if share == 0.0:
        return answer
    (sharpened,) = sharpen_for_site([image], [answer], config)
    return share * sharpened + (1.0 - share) * answer


def sharpen_for_site(
    images: Sequence[Float[Tensor, "1 i j k"]], answers: Sequence[Float[Tensor, "klass i j k"]], config: StudyConfig
) -> list[Float[Tensor, "klass i j k"]]:
    """What the intensities of some scans of one site make of the network's answers, as `pseudo-label` says."""
    return sharpen_probabilities(
        images,
        answers,
        num_iterations=config.pseudo_label.num_em_iterations,
        shading_sigma_voxels=config.pseudo_label.shading_sigma_mm / min(config.grid.spacing_mm),
    )


@torch.no_grad()
def predict_probabilities(
    model: nn.Module, image: Float[Tensor, "1 i j k"], grid: GridConfig, compute: ComputeConfig
) -> Float[Tensor, "klass i j k"]:
    """Softmax of the segmenter, averaged with its answer on the volume mirrored left to right.

    Args and device: as `predict_both_ways`.
    """
    plain, mirrored = predict_both_ways(model, image, grid, compute)
    return (plain + mirrored) / 2


@torch.no_grad()
def predict_both_ways(
    model: nn.Module, image: Float[Tensor, "1 i j k"], grid: GridConfig, compute: ComputeConfig
) -> tuple[Float[Tensor, "klass i j k"], Float[Tensor, "klass i j k"]]:
    """Softmax of the segmenter for a volume, and for the volume mirrored left to right, mirrored back.

    Args:
        model: The segmenter, on the device to use.
        image: Intensities in [0, 1] on the working grid, axis i from left to right.
        grid: Patch size and overlap of the windows; a volume of one patch takes one window.
        compute: Whether a GPU may use bf16.

    Returns:
        Both on the CPU.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    both = torch.stack([image, image.flip(1)]).to(device)
    with autocast(device, compute):
        if tuple(image.shape[1:]) == grid.patch_size:
            logits = model(both)
        else:
            from monai.inferers import sliding_window_inference  # noqa: PLC0415 - seconds, for large volumes only

            logits = sliding_window_inference(
                both, grid.patch_size, 2, model, overlap=grid.window_overlap, mode="gaussian"
            )
    model.train(was_training)
    plain, mirrored = torch.as_tensor(logits).float().softmax(dim=1).unbind()
    return plain.cpu(), mirrored.flip(1).cpu()
