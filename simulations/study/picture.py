"""A study's picture: what the main rows of one seed made of a typical scan of every target, beside a rendered pair."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from client.site import Site, open_site
from diffuse_uda.reporting.picture import SHOWN_ROWS
from diffuse_uda.reporting.views import CaseView
from diffuse_uda.types import SiteRole
from simulations.centres import Centre
from simulations.federation import label_names_of, node_config
from simulations.outcome import case_views, domains_of, rendered_pairs, scored_rows, write_picture
from simulations.study.job import Job

PICTURE = "picture.png"
_RENDERS = "diffuse-uda"


def write_study_picture(
    path: Path, centres: Sequence[Centre], jobs: Sequence[Job], reported: Mapping[str, Collection[str]]
) -> None:
    """Draw the first seed whose Diffuse-UDA is finished; nothing is written before.

    Args:
        path: The PNG.
        centres: Of the study.
        jobs: Its jobs, finished or not.
        reported: Scans that may be shown, by site.
    """
    finished = [job for job in jobs if job.marker and not job.one_target and set(job.rows.values()) & set(SHOWN_ROWS)]
    main = next((job for job in finished if job.run == _RENDERS), None)
    if main is None:
        return
    of_seed = [job for job in finished if job.seed == main.seed]
    targets = [centre for centre in centres if centre.role is SiteRole.TARGET]
    source = next(centre for centre in centres if centre.role is SiteRole.SOURCE)
    domains = domains_of(centres)
    write_picture(
        path,
        [_cases(centre, of_seed, reported[centre.site_id]) for centre in targets],
        [rendered_pairs(main.config, centre, _site(source, main), domains[centre.site_id]) for centre in targets],
        label_names_of(centres),
    )


def _cases(centre: Centre, jobs: Sequence[Job], reported: Collection[str]) -> list[CaseView]:
    folders = {
        job.rows[row]: folder
        for job in jobs
        for row, folder in scored_rows(_site(centre, job)).items()
        if job.rows.get(row) in SHOWN_ROWS
    }
    return [view for view in case_views(centre, folders) if view.case_id in reported]


def _site(centre: Centre, job: Job) -> Site:
    return open_site(node_config(centre, job.run_dir))
