"""Inference as MONAI configuration: what `prepare_volume`, `predict_probabilities` and `restore_to_scan` do.

MONAI's transforms alone do not express the working grid (its field of view shares the scan's centre, a Gaussian widens
the point spread first) nor the body and the window of the normalisation. So the stock transforms that place and
resample voxels stand together with expressions over numpy, scipy and scikit-image: text that can be read in the file,
no code beside it. What is left of a difference is measured at every export.
"""

from __future__ import annotations

from typing import Any

from diffuse_uda.config import GridConfig
from diffuse_uda.data.cases import CROP_MARGIN_VOXELS
from diffuse_uda.data.grid import SPACING_TOLERANCE
from diffuse_uda.data.normalise import CONSTANT_BACKGROUND_FRACTION
from diffuse_uda.export.network_definition import network_definition
from diffuse_uda.models.segmenter import Architecture

_IMPORTS = (
    "$import math",
    "$import glob",
    "$import numpy as np",
    "$import torch",
    "$import monai",
    "$from scipy import ndimage",
    "$from skimage.filters import threshold_otsu",
)

_GRID = {
    "spacing_of": "$lambda image: image.pixdim.numpy()",
    "is_there": f"$lambda image: np.allclose(@spacing_of(image), @spacing_mm, rtol={SPACING_TOLERANCE}, atol=0)",
    "counts": (
        "$lambda image: [max(math.ceil(n * old / new - 0.05), 1)"
        " for n, old, new in zip(image.shape[1:], @spacing_of(image), @spacing_mm)]"
    ),
    "axes_mm": "$lambda image: image.affine.numpy()[:3, :3] * (np.asarray(@spacing_mm) / @spacing_of(image))",
    "middle_mm": "$lambda image: np.dot(image.affine.numpy(), np.append((np.asarray(image.shape[1:]) - 1) / 2, 1))[:3]",
    "corner_mm": "$lambda image: @middle_mm(image) - np.dot(@axes_mm(image), (np.asarray(@counts(image)) - 1) / 2)",
    "grid_mm": (
        "$lambda image: np.block([[@axes_mm(image), @corner_mm(image)[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])"
    ),
    "widths": (
        "$lambda image: np.sqrt(np.maximum((np.asarray(@spacing_mm) / @spacing_of(image)) ** 2 - 1, 0))"
        " / (2 * math.sqrt(2 * math.log(2)))"
    ),
    "blurred": (
        "$lambda image, widths: image if widths.max() <= 0.1 else monai.data.MetaTensor(torch.as_tensor("
        "ndimage.gaussian_filter(image[0].numpy(), widths, mode='nearest', truncate=3.0))[None], meta=image.meta)"
    ),
    "resample": {
        "_target_": "monai.transforms.SpatialResample",
        "mode": "bilinear",
        "padding_mode": "border",
        "align_corners": True,
    },
    "to_working_grid": (
        "$lambda image: image if @is_there(image) else @resample(@blurred(image, @widths(image)),"
        " dst_affine=torch.as_tensor(@grid_mm(image)), spatial_size=@counts(image))"
    ),
}

_BODY = {
    "lowest": "$lambda voxels: float(voxels.min())",
    "high": (
        "$lambda voxels: float(np.percentile(voxels, 99.5))"
        " if float(np.percentile(voxels, 99.5)) > @lowest(voxels) else float(voxels.max())"
    ),
    "is_erased": (
        f"$lambda voxels: np.count_nonzero(voxels == @lowest(voxels)) >= {CONSTANT_BACKGROUND_FRACTION} * voxels.size"
    ),
    "above_air": (
        "$lambda clipped, is_air: ndimage.binary_fill_holes(clipped > 0.75 * float(clipped[is_air].mean())"
        " + 0.25 * float(clipped[~is_air].mean()))"
    ),
    "by_otsu": "$lambda clipped: @above_air(clipped, clipped <= threshold_otsu(clipped))",
    "body_of": (
        "$lambda voxels: voxels > @lowest(voxels) + 1e-3 * (@high(voxels) - @lowest(voxels))"
        " if @is_erased(voxels) else @by_otsu(np.minimum(voxels, @high(voxels)))"
    ),
}

_NORMALISE = {
    "typical": (
        "$lambda inside: inside[(inside >= np.percentile(inside, 0.5)) & (inside <= np.percentile(inside, 99.5))]"
    ),
    "scaled": "$lambda voxels, typical: np.clip((voxels - typical.mean()) / (4 * typical.std()) + 0.5, 0, 1)",
    "normalised": (
        "$lambda voxels, body: np.where(body, @scaled(voxels.astype(np.float64),"
        " @typical(voxels[body].astype(np.float64))), 0).astype(np.float32)"
    ),
}

_CROP = {
    "extent": "$lambda body, axis: np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))",
    "with_margin": (
        f"$lambda found, size: (max(int(found[0]) - {CROP_MARGIN_VOXELS}, 0),"
        f" min(int(found[-1]) + 1 + {CROP_MARGIN_VOXELS}, size))"
    ),
    "shifted_inside": ("$lambda low, high, size, patch: min(max(low - (patch - (high - low)) // 2, 0), size - patch)"),
    "at_least_a_patch": (
        "$lambda low, high, size, patch: (low, high) if high - low >= patch"
        " else (@shifted_inside(low, high, size, patch), @shifted_inside(low, high, size, patch) + patch)"
    ),
    "along": (
        "$lambda body, axis, size, patch: (0, size) if size <= patch"
        " else @at_least_a_patch(*@with_margin(@extent(body, axis), size), size, patch)"
    ),
    "box": (
        "$lambda body: list(zip(*[@along(body, axis, size, patch)"
        " for axis, size, patch in zip(range(3), body.shape, @patch_size)]))"
    ),
    "pad": {
        "_target_": "monai.transforms.SpatialPad",
        "spatial_size": "@patch_size",
        "method": "symmetric",
        "mode": "constant",
    },
    "cut": "$lambda image, box: @pad(monai.transforms.SpatialCrop(roi_start=box[0], roi_end=box[1])(image))",
    "to_network": (
        "$lambda image, body: @cut(monai.data.MetaTensor(torch.as_tensor(@normalised(image[0].numpy(), body))[None],"
        " meta=image.meta), @box(body))"
    ),
}

_PREDICT = {
    "mirrored_mean": "$lambda both: (both[0] + both[1].flip(1)) / 2",
    "probabilities": (
        "$torch.no_grad()(lambda image: @mirrored_mean(torch.softmax("
        "@inferer(torch.stack([image, image.flip(1)]), @network), dim=1)))"
    ),
    "predicted": (
        "$lambda item: {**item, 'pred': monai.data.MetaTensor("
        "@probabilities(item['image'].as_tensor().to(@device)).cpu(), meta=item['image'].meta)}"
    ),
}


def inference_config(architecture: Architecture, grid: GridConfig) -> dict[str, Any]:
    """`configs/inference.json`: from a folder of NIfTI scans to label maps on the scans' own grids.

    Args:
        architecture: The network.
        grid: Working spacing, patch and overlap of windows.
    """
    preprocessing = [
        {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "image_only": True},
        {"_target_": "CopyItemsd", "keys": "image", "names": "scan"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        {"_target_": "Lambdad", "keys": "image", "func": "@to_working_grid"},
        {
            "_target_": "Lambdad",
            "keys": "image",
            "func": "$lambda image: @to_network(image, @body_of(image[0].numpy()))",
        },
    ]
    postprocessing = [
        {
            "_target_": "ResampleToMatchd",
            "keys": "pred",
            "key_dst": "scan",
            "mode": "bilinear",
            "padding_mode": "zeros",  # no class has a share beyond the working grid, so the first one wins: background
            "align_corners": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "output_dtype": "$np.uint8",
            "separate_folder": False,
            "resample": False,
            "print_log": False,
        },
    ]
    return {
        "imports": list(_IMPORTS),
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/predictions'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "spacing_mm": list(grid.spacing_mm),
        "patch_size": list(grid.patch_size),
        **network_definition(architecture),
        "weights": "$torch.load(@checkpoint, map_location='cpu', weights_only=True)",
        "network": "$[@network_def.load_state_dict(@weights), @network_def.to(@device).eval()][-1]",
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": "@patch_size",
            "sw_batch_size": 2,
            "overlap": grid.window_overlap,
            "mode": "gaussian",
        },
        **_GRID,
        **_BODY,
        **_NORMALISE,
        **_CROP,
        **_PREDICT,
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing},
        "postprocessing": {"_target_": "Compose", "transforms": postprocessing},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in sorted(glob.glob(@dataset_dir + '/*.nii*'))]",
            "transform": "@preprocessing",
        },
        "segment": "$lambda item: @postprocessing(@predicted(item))",
        "run": ["$[@segment(item) for item in @dataset] and None"],
    }
