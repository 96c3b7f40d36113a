"""Networks, built from configuration alone."""

from diffuse_uda.models.build import build_denoiser, build_model, build_segmenter, initial_weights

__all__ = ["build_denoiser", "build_model", "build_segmenter", "initial_weights"]
