"""A copy of the code for a study that runs for hours, so that nobody has to stop working meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

from simulations.study.fingerprint import CHECKOUT

PACKAGES = ("diffuse_uda", "client", "server", "simulations")


def freeze_code(folder: Path) -> Path:
    """Copy the packages as they are now; jobs that start later run what was there when the study began.

    Args:
        folder: Replaced if it is there; nobody may be running from it.

    Returns:
        The folder, absolute: a root for imports.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder.resolve()
