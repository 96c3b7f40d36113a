"""Rules of series, structure sets and segmentations in DICOM; their slugs begin with `dicom-`."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Rule

DICOM: tuple[Rule, ...] = ()
