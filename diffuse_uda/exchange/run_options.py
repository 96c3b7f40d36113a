"""What is in Flower's run-config beside the study: where the server writes, and which sites are simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Scalar

RUN_DIR = "run-dir"
SITES_FILE = "simulation.sites-file"
PREPARE_SITES = "simulation.prepare-sites"
START_FROM = "start-from"
RESUME = "resume"
MLFLOW = "mlflow"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Settings of one run that are not part of the study's description."""

    run_dir: Path
    """Where the server writes its checkpoints, history and scores."""
    sites_file: Path | None = None
    """JSON list with one node-config a simulated site; real sites bring their own and never look here."""
    prepare_sites: str = ""
    """`module:function` that writes `sites_file` for simulated nodes that are nobody yet; empty for none."""
    start_from: Path | None = None
    """What the server kept after a phase of an earlier run: the study goes on there. Whoever names it sees to it that
    the sites have what they had then, and that configuration, sites and seed are the same."""
    resume: bool = True
    """Whether an unfinished run in `run_dir` goes on; otherwise it is replaced."""
    mlflow: str = ""
    """Tracking address for the server's scalars, where MLflow is installed; empty: none."""


def read_run_config(run_config: Mapping[str, Scalar]) -> tuple[StudyConfig, RunOptions]:
    """Split a run-config into the study and the options of this run.

    Flower lets a command line override declared keys only, so the app declares every key; an empty text stands for
    "as the preset has it", otherwise the declared values would overrule the preset that a user asks for.

    Args:
        run_config: Flat kebab-case keys.

    Raises:
        ConfigError: As `StudyConfig.from_flat`.
    """
    given = {key: value for key, value in run_config.items() if value != ""}
    run_dir, sites_file, prepare_sites, start_from, mlflow = (
        given.pop(key, "") for key in (RUN_DIR, SITES_FILE, PREPARE_SITES, START_FROM, MLFLOW)
    )
    resume = given.pop(RESUME, True)
    if not isinstance(resume, bool):
        msg = f"{RESUME}: found {resume!r}; wanted true or false"
        raise ConfigError(msg)
    config = StudyConfig.from_flat(given)
    options = RunOptions(
        run_dir=Path(str(run_dir)) if run_dir else Path("runs") / config.name,
        sites_file=Path(str(sites_file)) if sites_file else None,
        prepare_sites=str(prepare_sites),
        start_from=Path(str(start_from)) if start_from else None,
        resume=resume,
        mlflow=str(mlflow),
    )
    return config, options
