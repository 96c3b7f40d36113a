"""Federated Diffuse-UDA: segmentation for centres that have scans but no voxel labels."""

__version__ = "0.1.0"
