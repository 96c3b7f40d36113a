"""What is rehearsed: how many sites, which study, what is killed on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Scalar
from simulations.phantom.centres import SOURCE_T1W, TARGET_FLAIR, TARGET_PDW, TARGET_T2W, CentreRecipe
from simulations.phantom.cohort import write_cohort

SHAPE = (16, 16, 16)
SPACING_MM = (12.0, 12.0, 12.0)

RECIPE: Mapping[str, Scalar] = MappingProxyType(
    {
        "name": "rehearsal",
        "method": "diffuse-uda",
        "num-passes": 1,
        "grid.patch-size": str(list(SHAPE)),
        "grid.spacing-mm": str(list(SPACING_MM)),
        "segmenter.channels": "[4, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention-levels": "[false, false]",
        "denoiser.num-groups": 4,
        "diffusion.num-inference-steps": 2,
        "recolour.num-turns": 1,
        **{
            f"{phase}.{key}": value
            for phase in ("warm-up", "adapt", "recolour", "diffuse", "refine")
            for key, value in (("num-rounds", 1), ("num-local-steps", 2))
        },
        "federation.join-timeout-s": 300.0,
        "federation.idle-timeout-s": 300.0,
        "federation.round-timeout-s": 900.0,
        "compute.device": "cpu",
        "compute.num-threads": 1,
    }
)
"""Every phase of Diffuse-UDA, a round each, on networks of a few thousand weights: the machinery is what is tried."""

_LOOKS = (TARGET_T2W, TARGET_FLAIR, TARGET_PDW)


class Kill(StrEnum):
    """Whom a rehearsal kills, without asking, while work is going on; it is started again at once."""

    SITE = "site"
    """One target: its launcher, node, executor and the task at work."""
    COORDINATOR = "coordinator"
    """The server app's process; the same command is given again."""
    HUB = "hub"
    """Everything on the hub's machine, the server app included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """One rehearsal."""

    folder: Path
    """Where everything of it goes; empty or not there yet."""
    seed: int = 0
    num_targets: int = 1
    changes: Mapping[str, Scalar] = field(default_factory=dict)
    """Flat keys of the study on top of `RECIPE`."""
    kills: tuple[Kill, ...] = ()
    """In this order, one after each of the first rounds."""
    limit_s: float = 1800.0
    """Longest time from the first process to the end of the run, in seconds."""

    def __post_init__(self) -> None:
        """Refuse what cannot be rehearsed.

        Raises:
            ConfigError: If the folder is in use, there is no target, or the study means nothing.
        """
        if self.folder.exists() and any(self.folder.iterdir()):
            msg = f"{self.folder} is not empty; wanted a new folder for the rehearsal, choose another --out"
            raise ConfigError(msg)
        if self.num_targets < 1:
            msg = f"found {self.num_targets} targets; wanted at least 1"
            raise ConfigError(msg)
        StudyConfig.from_flat(self.study)

    @property
    def study(self) -> dict[str, Scalar]:
        """Flat keys of the study."""
        return {**RECIPE, "seed": self.seed, **self.changes}

    def write_scans(self) -> dict[str, Path]:
        """Write the sites' scans, three for each.

        Returns:
            Folders by site, the source's first.
        """
        centres = [_small(SOURCE_T1W, "source")]
        centres += [_small(_LOOKS[i % len(_LOOKS)], f"target-{i + 1}") for i in range(self.num_targets)]
        folders = write_cohort(
            self.folder / "scans", seed=self.seed, centres=centres, shape=SHAPE, spacing_mm=SPACING_MM
        )
        return {centre.site_id: folder for centre, folder in zip(centres, folders, strict=True)}


def _small(look: CentreRecipe, site_id: str) -> CentreRecipe:
    return dataclasses.replace(look, site_id=site_id, num_train=2, num_test=1, num_development=0)
