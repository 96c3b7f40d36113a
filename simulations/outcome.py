"""What a finished run leaves for people: results, report, picture, pairs as NIfTI, the adapted segmenter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.site import Site
from client.site_state import SiteState
from diffuse_uda.algorithms.metrics import StructureScore
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.label_maps import load_label_map
from diffuse_uda.data.volumes import Volume, load_volume, save_volume
from diffuse_uda.reporting.history_view import exchange_by_phase, read_history, seconds_by_phase
from diffuse_uda.reporting.machine import describe_machine
from diffuse_uda.reporting.page import PolicyListing, ReportInputs, render_report, write_report
from diffuse_uda.reporting.picture import render_picture
from diffuse_uda.reporting.results import Results, build_results, write_results
from diffuse_uda.reporting.rows import row_order
from diffuse_uda.reporting.scores import CaseScores, SiteScores, case_dice
from diffuse_uda.reporting.table import markdown_table
from diffuse_uda.reporting.views import CaseView, PairsOfTarget, PairView, worst_first
from diffuse_uda.types import SiteRole
from simulations.centres import Centre

RESULTS_FILE = "results.json"
"""Comes last: where it is, a run has left everything it leaves."""

MAX_SAVED_PAIRS = 4
MAX_SHOWN_CASES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """Where everything of a simulated run lies.

    In a simulation the sites' private folders can be read; in a deployment each site makes its own pictures.
    """

    folder: Path
    config: StudyConfig
    centres: Sequence[Centre]
    sites: Sequence[Site]
    label_names: tuple[str, ...]
    command: str
    seconds: Mapping[str, float]
    """Wall time by part of the run."""


def write_outcome(run: FinishedRun, policy: PolicyListing) -> Results:
    """Write `report.html`, `picture.png`, some synthetic pairs and, when all that is there, `results.json`."""
    history = read_history(run.folder / "history.jsonl")
    results = build_results(
        [site_scores(centre, site, run.label_names) for centre, site in zip(run.centres, run.sites, strict=True)],
        seeds=[run.config.seed],
        exchange=exchange_by_phase(history),
        measured={
            "timing": {**run.seconds, "phases": seconds_by_phase(history)},
            "environment": {**describe_machine(), "command": run.command},
        },
    )
    with replaced_atomically(run.folder / "table.md") as draft:
        draft.write_text(markdown_table(results), encoding="utf-8")
    targets = [
        (centre, site) for centre, site in zip(run.centres, run.sites, strict=True) if site.role is SiteRole.TARGET
    ]
    source = next(site for site in run.sites if site.role is SiteRole.SOURCE)
    domains = domains_of(run.centres)
    pairs = [rendered_pairs(run.config, centre, source, domains[centre.site_id]) for centre, _ in targets]
    cases = {site.site_id: case_views(centre, scored_rows(site)) for centre, site in targets}
    inputs = ReportInputs(
        title=f"Federated {run.config.method}: {run.config.name}",
        results=results,
        label_names=run.label_names,
        config=run.config.to_flat(),
        history=history,
        policy=policy,
        cases=[case for views in cases.values() for case in worst_first(views)[:MAX_SHOWN_CASES]],
        pairs=[of_target for of_target in pairs if of_target.synthetic],
    )
    write_report(run.folder / "report.html", render_report(inputs))
    write_picture(run.folder / "picture.png", list(cases.values()), pairs, run.label_names)
    _write_pairs(run, pairs)
    write_results(run.folder / RESULTS_FILE, results)
    return results


def site_scores(centre: Centre, site: Site, label_names: Sequence[str]) -> SiteScores:
    """Read every row that was scored at a site, case by case.

    Args:
        centre: The site's checked folder.
        site: Its workspace holds `evaluation/<row>/scores.json`.
        label_names: Classes of the study, background first.
    """
    rows: dict[str, list[CaseScores]] = {}
    for file in sorted((site.workspace / "evaluation").glob("*/scores.json")):
        cases = json.loads(file.read_text(encoding="utf-8"))
        rows[file.parent.name] = [
            CaseScores(case_id=case_id, scores={name: _score(scores[name]) for name in label_names[1:]})
            for case_id, scores in cases.items()
        ]
    num_test = max((len(cases) for cases in rows.values()), default=0)
    return SiteScores(
        site_id=site.site_id, role=site.role, num_train=len(centre.files.train), num_test=num_test, rows=rows
    )


def _score(entry: Mapping[str, Any]) -> StructureScore:
    return StructureScore(**entry)


def scored_rows(site: Site) -> dict[str, Path]:
    """Folders with predictions and scores of a site, by row."""
    return {file.parent.name: file.parent for file in (site.workspace / "evaluation").glob("*/scores.json")}


def case_views(centre: Centre, folders: Mapping[str, Path]) -> list[CaseView]:
    """Every scored case of a centre with what each method made of it.

    Args:
        centre: The checked folder.
        folders: Folders with predictions and scores by row, of one run or of several.
    """
    rows = row_order(folders)
    scores = {row: json.loads((folders[row] / "scores.json").read_text(encoding="utf-8")) for row in rows}
    views = []
    for case in centre.files.test:
        scored = [row for row in rows if case.case_id in scores[row]]
        if case.label_map is None or not scored:
            continue
        dice = {
            row: case_dice(
                CaseScores(
                    case_id=case.case_id,
                    scores={name: _score(entry) for name, entry in scores[row][case.case_id].items()},
                )
            )
            for row in scored
        }
        views.append(
            CaseView(
                site_id=centre.site_id,
                case_id=case.case_id,
                image=load_volume(case.image),
                reference=load_label_map(case).voxels,
                predictions={row: load_volume(folders[row] / f"{case.case_id}.nii.gz").voxels for row in scored},
                dice=dice,
            )
        )
    return views


def domains_of(centres: Sequence[Centre]) -> dict[str, int]:
    """Domain of every target: its place among the targets by name, as the server orders them, from 1."""
    targets = sorted(centre.site_id for centre in centres if centre.role is SiteRole.TARGET)
    return {site_id: domain for domain, site_id in enumerate(targets, start=1)}


def rendered_pairs(config: StudyConfig, centre: Centre, source: Site, domain: int) -> PairsOfTarget:
    """Pairs the source rendered in one target's look, beside real scans of that target."""
    affine_mm = np.diag([*config.grid.spacing_mm, 1.0])
    rendered = [
        pair
        for pair in SiteState(source.workspace / "state").load_examples("synthetic")
        if pair.domain == domain and pair.label_map is not None
    ][:MAX_SAVED_PAIRS]
    synthetic = tuple(
        PairView(
            image=Volume(voxels=pair.image[0].numpy(), affine_mm=affine_mm),
            label_map=None if pair.label_map is None else pair.label_map[0].numpy(),
        )
        for pair in rendered
    )
    real = tuple(
        PairView(image=load_volume(case.image), label_map=None) for case in centre.files.train[:MAX_SAVED_PAIRS]
    )
    return PairsOfTarget(site_id=centre.site_id, real=real, synthetic=synthetic)


def write_picture(
    path: Path, cases: Sequence[Sequence[CaseView]], pairs: Sequence[PairsOfTarget], label_names: Sequence[str]
) -> None:
    """The middle case of every target by Dice: neither the best nor the worst face of the method.

    Args:
        path: The PNG; nothing is written without a scored case.
        cases: Scored cases of every target.
        pairs: Rendered pairs by target.
        label_names: Classes, background first.
    """
    typical = [ordered[len(ordered) // 2] for views in cases if (ordered := worst_first(views))]
    if not typical:
        return
    first_pairs = {of_target.site_id: of_target.synthetic[0] for of_target in pairs if of_target.synthetic}
    picture = render_picture(typical, first_pairs, label_names)
    with replaced_atomically(path) as draft:
        draft.write_bytes(picture)


def _write_pairs(run: FinishedRun, pairs: Sequence[PairsOfTarget]) -> None:
    folder = run.folder / "synthetic"
    for of_target in pairs:
        for index, pair in enumerate(of_target.synthetic):
            place = folder / of_target.site_id
            place.mkdir(parents=True, exist_ok=True)
            save_volume(place / f"synthetic{index:03d}_0000.nii.gz", pair.image, dtype="float32")
            if pair.label_map is not None:
                label_map = Volume(voxels=pair.label_map, affine_mm=pair.image.affine_mm)
                save_volume(place / f"synthetic{index:03d}.nii.gz", label_map, dtype="uint8")
