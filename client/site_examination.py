"""What the doctor looks at for a site: everything that its settings name, so that nobody types it twice."""

from __future__ import annotations

import os
from pathlib import Path

from client.site_settings import SiteSettings
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.doctor.address import parse_address
from diffuse_uda.doctor.examination import Examination
from diffuse_uda.doctor.hub_verdicts import Expected


def examination_of(file: Path, study: Path | None) -> Examination:
    """Read what there is to look at from `site.toml`.

    The signing key is made at the first start: before that there is none to look at.

    Raises:
        ConfigError: If the file cannot be used.
    """
    settings = read_settings(file, SiteSettings)
    signing = (settings.signs_with,) if settings.signs_with.exists() else ()
    return Examination(
        study=study,
        data=settings.data_dir,
        role=settings.role,
        workspace=settings.workspace,
        hub=parse_address(settings.hub),
        ca=settings.ca,
        keys=(settings.key, *signing),
        expected=Expected(fingerprint=settings.fingerprint, federation=settings.federation),
        listening=(settings.runtime, settings.health, settings.executor_health),
        environment={**os.environ, "FLWR_HOME": str(settings.flower_home)},
    )
