"""A site's own report: its scans, the predictions it has kept, and where the pages go, all from `site.toml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from client.site_settings import SiteSettings
from diffuse_uda.data.formats.nnunet import read_centre
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.reporting.rows import headline_row
from diffuse_uda.review.request import Options, Request, complete
from diffuse_uda.review.scans import centre_scans

REPORT = "report"
"""Folder in the workspace."""


def requested(file: Path, options: Options) -> Request:
    """Report on a site's scans; without a model, on those that an evaluation has left predictions of.

    Args:
        file: `site.toml`.
        options: What the command line says.

    Raises:
        ConfigError: If the settings cannot be used, or there is neither a model nor a prediction.
        InputError: If the site's folder breaks its layout.
    """
    settings = read_settings(file, SiteSettings)
    scans = centre_scans(read_centre(settings.data_dir, settings.site_id), settings.evaluation_part)
    if options.model is None and options.predictions is None:
        options = replace(options, predictions=kept_predictions(settings.workspace))
    request = complete(
        scans,
        options,
        out=options.out or settings.workspace / REPORT,
        description=settings.data_dir / "dataset.json",
        title=options.title or f"Cases of {settings.site_id}",
    )
    if options.model is None:
        shown = tuple(scan for scan in request.plan.scans if scan.prediction is not None)
        return replace(request, plan=replace(request.plan, scans=shown))
    return request


def kept_predictions(workspace: Path) -> Path | None:
    """Predictions of the last evaluation of the adapted model that a site has kept; None without one."""
    rows = {place.parent.name: place.parent for place in (workspace / "evaluation").glob("*/scores.json")}
    row = headline_row(rows)
    return None if row is None else rows[row]
