"""The keys that `flwr run -c` may override: `python -m simulations.engines.declared_config` prints them as TOML.

Flower refuses overrides of keys that the app does not declare in `pyproject.toml`. All of the study's keys are declared
there, with an empty text for "as the preset has it": a number there would overrule the preset that a user asks for.
"""

from __future__ import annotations

import json

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.run_options import MLFLOW, PREPARE_SITES, RESUME, RUN_DIR, SITES_FILE
from diffuse_uda.types import Scalar
from simulations.recipes import PHANTOM_SHAPE, PHANTOM_SPACING_MM


def declared_config() -> dict[str, Scalar]:
    """Keys and values of `[tool.flwr.app.config]`, with which `flwr run .` works on a fresh checkout."""
    return {
        **dict.fromkeys(StudyConfig().to_flat(), ""),
        "name": "flower",
        "grid.spacing-mm": json.dumps(list(PHANTOM_SPACING_MM)),
        "grid.patch-size": json.dumps(list(PHANTOM_SHAPE)),
        RUN_DIR: "runs/flower",
        RESUME: "",
        MLFLOW: "",
        SITES_FILE: "runs/flower/sites.json",
        PREPARE_SITES: "simulations.engines.sites:prepare_phantom_sites",
    }


if __name__ == "__main__":
    print("[tool.flwr.app.config]")  # noqa: T201 - output of a command
    for _key, _value in declared_config().items():
        print(f"{_key} = {json.dumps(_value)}")  # noqa: T201 - output of a command
