"""Forms of what is handed over, for command lines: nothing heavy is imported here."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """How a segmentation is written."""

    NIFTI = "nifti"
    DICOM_SEG = "dicom-seg"


class DatasetForm(StrEnum):
    """How synthetic pairs are laid out."""

    NNUNET = "nnunet"
    BIDS = "bids"


class ModelForm(StrEnum):
    """How a model is written."""

    BUNDLE = "bundle"
    SAFETENSORS = "safetensors"
    ONNX = "onnx"
