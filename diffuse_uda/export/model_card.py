"""The model card as data: what was trained on what, for what, how good it is as far as is known, and what it is not.

Nothing in it names a person, a hospital or a place on a disk: it is made from a list of facts, not from files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Any

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.export.run_facts import RunFacts, SiteFacts
from diffuse_uda.export.structure_codes import structure_code
from diffuse_uda.training.prediction import LoadedSegmenter

TO_FILL = "TO BE FILLED IN"
INTENDED_USE = (
    "Research on segmentation of scans of the sites that took part, with their scanners and sequences. Every result "
    "has to be looked at by somebody who knows the anatomy."
)
LIMITS = (
    "Not a medical device, and not for diagnosis or treatment.",
    "Targets had no labels in training. How good the model is at one that scored no held-out scans is not known.",
    "Scans of other scanners, sequences, ages or diseases than those of the sites are outside of what was tried.",
    "Structures that are not in the list are background, whatever they are.",
    "Weights were made from patients' scans; that nobody can learn anything about them from weights is not shown.",
)
NETWORK_ALONE = (
    "Exported forms hold the network alone. `diffuse-uda predict`, which the scores are of, also asks the scan's own "
    "intensities where a structure ends: its borders differ."
)
_LIBRARIES = ("diffuse-uda", "monai", "torch", "numpy", "nibabel", "scikit-image", "scipy")


def model_card(
    segmenter: LoadedSegmenter,
    facts: RunFacts,
    *,
    weights_sha256: str,
    made_at: datetime,
    checks: Mapping[str, Any],
    licence: str | None = None,
    labelled_by: str | None = None,
) -> dict[str, Any]:
    """Put the card together.

    Args:
        segmenter: What is handed over.
        facts: Of its run.
        weights_sha256: Of the weights that the exports were made from.
        made_at: Date and time of the export.
        checks: What the exports were measured to be, by form.
        licence: Of the weights, for the owner to say.
        labelled_by: Who drew the reference label maps behind the scores, for the owner to say.

    Returns:
        JSON-ready values.
    """
    config = segmenter.config
    plan = {key: value for key, value in config.to_flat().items() if key != "name"}
    parameters = sum(tensor.numel() for tensor in segmenter.model.state_dict().values())
    return {
        "model": {
            "kind": config.segmenter.kind,
            "num_parameters": parameters,
            "weights_sha256": weights_sha256,
            "made_for": facts.made_for or "all sites",
            "licence": licence or TO_FILL,
        },
        "structures": [
            {"value": value, "name": name, "code": _code(name) if value else None}
            for value, name in enumerate(segmenter.label_names)
        ],
        "training": {
            "method": config.method,
            "rounds": dict(facts.rounds),
            "sites": [_site(site) for site in facts.sites],
            "plan_sha256": plan_hash(config),
            "plan": plan,
        },
        "input": {
            "spacing_mm": list(config.grid.spacing_mm),
            "patch_size": list(config.grid.patch_size),
            "preprocessing": (
                "axes to the nearest RAS+ order; linear to the spacing; mean +/- 2 std of the body to [0, 1]; crop to "
                "the body; windows, averaged with the answer on the mirrored scan"
            ),
        },
        "intended_use": INTENDED_USE,
        "limits": _limits(config),
        "quality": {
            "without_labels": {site.pseudonym: site.confidence for site in facts.sites if site.confidence is not None},
            "scores": {site.pseudonym: _plain(site.scores) for site in facts.sites if site.scores},
            "labelled_by": labelled_by or TO_FILL,
        },
        "checks": dict(checks),
        "made": {
            "at": made_at.isoformat(timespec="seconds"),
            "versions": {name: version(name).partition("+")[0] for name in _LIBRARIES},
        },
    }


def _limits(config: StudyConfig) -> list[str]:
    if config.prediction.mixture_share == 0.0:
        return list(LIMITS)
    return [*LIMITS, NETWORK_ALONE]


def _site(site: SiteFacts) -> dict[str, Any]:
    return {
        "site": site.pseudonym,
        "role": site.role.value,
        "num_cases": site.num_cases,
        "num_test_cases": site.num_test_cases,
    }


def _plain(scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {row: {name: round(value, 4) for name, value in values.items()} for row, values in scores.items()}


def _code(name: str) -> dict[str, str]:
    return asdict(structure_code(name).structure)
