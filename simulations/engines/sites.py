"""Which site every simulated node plays: Flower's simulation engine gives its nodes numbers, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Scalar
from simulations.phantom.centres import DEFAULT_CENTRES
from simulations.phantom.cohort import write_cohort
from simulations.recipes import PHANTOM_SHAPE, PHANTOM_SPACING_MM

COHORT_SEED = 0


def write_sites_file(path: Path, node_configs: Sequence[Mapping[str, Scalar]]) -> None:
    """Write the node-configs of nodes 0, 1, 2, ...: what a hospital would say on its own command line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as draft:
        draft.write_text(json.dumps([dict(config) for config in node_configs], indent=1) + "\n", encoding="utf-8")


def prepare_phantom_sites(sites_file: Path, num_nodes: int) -> None:
    """Make the procedural cohort, unless it is there, and cast the nodes: the source first, then the targets.

    Args:
        sites_file: Where to write; workspaces of the sites lie beside it.
        num_nodes: Simulated nodes there are.

    Raises:
        ConfigError: If there are fewer nodes than a source and a target, or more than the cohort has centres.
    """
    if not 2 <= num_nodes <= len(DEFAULT_CENTRES):
        msg = (
            f"{num_nodes} simulated nodes; a study needs 2, and the procedural cohort has {len(DEFAULT_CENTRES)} "
            f"centres: flwr run . --federation-config 'num-supernodes={len(DEFAULT_CENTRES)}'"
        )
        raise ConfigError(msg)
    cohort = Path("cohorts") / f"phantom-{COHORT_SEED}"
    folders = write_cohort(cohort, seed=COHORT_SEED, shape=PHANTOM_SHAPE, spacing_mm=PHANTOM_SPACING_MM)
    configs: list[dict[str, Scalar]] = [
        {
            "site-id": centre.site_id,
            "role": centre.role.value,
            "data-dir": str(folder.resolve()),
            "workspace": str((sites_file.parent / "sites" / centre.site_id).resolve()),
        }
        for centre, folder in zip(DEFAULT_CENTRES[:num_nodes], folders[:num_nodes], strict=True)
    ]
    write_sites_file(sites_file, configs)
