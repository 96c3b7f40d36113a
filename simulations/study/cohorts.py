"""Which centres a study is about: known choices by the study's name, or folders that the user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffuse_uda.errors import ConfigError
from simulations.centres import find_centres
from simulations.phantom.cohort import write_cohort
from simulations.recipes import PHANTOM_SHAPE, PHANTOM_SPACING_MM

BRAIN4 = Path("../shared/data/brain4")
PHANTOM = "phantom"
PHANTOM_SEED = 0
"""People and scanners of the procedural cohort: the same for every seed of the training."""

KNOWN: Mapping[str, tuple[Path, tuple[str, ...]]] = {
    "brain4": (BRAIN4, ("target_t2w", "target_flair_real")),
    "brain4-pdw-t1": (BRAIN4, ("target_pdw", "target_t1_real")),
    "le_uda": (BRAIN4, ("target_t2w", "target_flair_real")),
    "le_uda-pdw-t1": (BRAIN4, ("target_pdw", "target_t1_real")),
}
"""Folder and targets by the study's name. The real targets show the same people, so they are never in one study."""


def study_folders(name: str, data: Path | None, targets: Sequence[str]) -> list[Path]:
    """Folders of a study's centres, the source first.

    Args:
        name: The study's.
        data: Folder with one folder a centre; None takes the choice that the name stands for.
        targets: Names of the target folders to take; none means the known choice, or all.

    Raises:
        ConfigError: If there is no folder and the name is not a known one.
        InputError: If a folder is missing.
    """
    if data is not None:
        return find_centres(data, targets or KNOWN.get(name, (data, ()))[1])
    if name in KNOWN:
        folder, known_targets = KNOWN[name]
        return find_centres(folder, targets or known_targets)
    if name == PHANTOM:
        folder = Path("cohorts") / f"{PHANTOM}-{PHANTOM_SEED}"
        return write_cohort(folder, seed=PHANTOM_SEED, shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM)
    msg = f"study {name!r} has no data of its own; name a folder with --data, or one of {[*KNOWN, PHANTOM]}"
    raise ConfigError(msg)
