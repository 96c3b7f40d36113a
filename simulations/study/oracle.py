"""What choosing the round by the test labels would have brought: never done, but its price should be known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from client.cases import test_cases, test_files
from client.site import Site
from client.site_state import SiteState
from diffuse_uda.algorithms.metrics import dice
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.cases import restore_to_scan
from diffuse_uda.data.label_maps import load_label_map
from diffuse_uda.methods.phase import Exchange, Method, Phase, PhaseName
from diffuse_uda.models import build_model
from diffuse_uda.reporting.scores import mean_defined
from diffuse_uda.reporting.study_runs import OracleChoice
from diffuse_uda.training.checkpoints import load_checkpoint, load_weights_
from diffuse_uda.training.device import choose_device, place, use_threads
from diffuse_uda.training.inference import label_probabilities
from diffuse_uda.types import ModelName, SiteRole, StateDict

LABELLING = frozenset({PhaseName.PSEUDO_LABEL, PhaseName.RELABEL})
"""Phases that use a segmenter and train none."""

RoundScores = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Dice of every structure by kept round (its number as text) and scan."""


def phases_of_rows(method: Method) -> dict[str, tuple[Phase, ...]]:
    """The phases whose last round a row scores, for rows of a segmenter that was trained with or for the targets.

    One phase for all targets, or one for each of them, in which a target itself may rest.
    """
    trained: tuple[Phase, ...] = ()
    found: dict[str, tuple[Phase, ...]] = {}
    for phase in method.phases:
        if phase.row:
            found |= {phase.row: trained} if trained else {}
        elif phase.model is ModelName.SEGMENTER and phase.num_rounds > 0 and phase.name not in LABELLING:
            is_for_targets = SiteRole.TARGET in phase.tasks or phase.partner is not None
            is_federated = phase.exchange is Exchange.WEIGHTS and is_for_targets
            others = (
                trained if phase.partner is not None and all(_are_siblings(phase, past) for past in trained) else ()
            )
            trained = (*others, phase) if is_federated else ()
    return found


def _are_siblings(one: Phase, other: Phase) -> bool:
    """Whether two phases are the same one, each for one target."""
    return replace(one, partner=None) == replace(other, partner=None)


def round_scores(
    config: StudyConfig,
    phases: Mapping[str, Sequence[Phase]],
    rounds_dir: Path,
    sites: Sequence[Site],
    label_names: Sequence[str],
) -> dict[str, dict[str, RoundScores]]:
    """Score every kept round of every row's phase at every target, after the run.

    Args:
        config: Of the run.
        phases: By row, as `phases_of_rows` gives them.
        rounds_dir: Holds `<phase>/<round>`, a checkpoint of the segmenter.
        sites: Sites of the run; the source's held-out scans are nobody's target.
        label_names: Classes of the study, background first.

    Returns:
        By row and site; a row without kept rounds is left out.
    """
    targets = sorted((site for site in sites if site.role is SiteRole.TARGET), key=lambda site: site.site_id)
    scores: dict[str, dict[str, RoundScores]] = {}
    for row, of_row in phases.items():
        for domain, site in enumerate(targets, start=1):
            phase = next(phase for phase in of_row if phase.partner in {None, domain})
            kept = sorted((rounds_dir / phase.label).glob("*/manifest.json"), key=lambda file: int(file.parent.name))
            if kept:
                scores.setdefault(row, {})[site.site_id] = {
                    file.parent.name: case_scores(config, site, load_checkpoint(file.parent)[0], label_names)
                    for file in kept
                }
    return scores


def case_scores(
    config: StudyConfig, site: Site, weights: StateDict, label_names: Sequence[str]
) -> dict[str, list[float | None]]:
    """Dice of a segmenter on a site's labelled held-out scans, structure by structure."""
    use_threads(config.compute.num_threads)
    model = build_model(config, ModelName.SEGMENTER, len(label_names))
    load_weights_(model, weights)
    model = place(model, choose_device(config.compute), config.compute)
    cases = test_cases(site, config.grid, SiteState(site.workspace / "state"))
    scores = {}
    for case, files in zip(cases, test_files(site), strict=True):
        prediction = restore_to_scan(label_probabilities(model, case.image, config), case).voxels
        reference = load_label_map(files).voxels
        scores[case.case_id] = [dice(prediction, reference, label) for label in range(1, len(label_names))]
    return scores


def oracle_choice(rounds: RoundScores, case_ids: Collection[str]) -> OracleChoice | None:
    """What the best kept round would have scored on some scans, beside the last one, which needs no labels to choose.

    Args:
        rounds: Scores of the kept rounds.
        case_ids: Scans that are reported.

    Returns:
        None where no round has a score.
    """
    dice_of = {
        int(number): mean
        for number, cases in rounds.items()
        if (mean := _mean_dice([scores for case_id, scores in cases.items() if case_id in case_ids])) is not None
    }
    if not dice_of:
        return None
    best = max(dice_of, key=lambda number: (dice_of[number], -number))
    return OracleChoice(dice=dice_of[max(dice_of)], oracle_dice=dice_of[best], oracle_round=best)


def _mean_dice(cases: Sequence[Sequence[float | None]]) -> float | None:
    """Over the scans for every structure, then over the structures."""
    return mean_defined(mean_defined(scores) for scores in zip(*cases, strict=True))
