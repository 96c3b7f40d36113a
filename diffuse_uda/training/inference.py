"""Probabilities of a whole volume, whatever its size."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffuse_uda.config import ComputeConfig, GridConfig
from diffuse_uda.training.device import autocast


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
