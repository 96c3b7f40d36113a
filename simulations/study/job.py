"""One run of a study as a value that another process can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.types import Scalar
from simulations.study.ladder import Engine

FINISHED = "finished.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Everything a process needs to know; JSON values and paths."""

    name: str
    """Unique within the study, such as `seed-0/asc`."""
    run: str
    """Name of the run in the ladder; a run with one federation a target has several jobs."""
    engine: Engine
    seed: int
    flat: Mapping[str, Scalar]
    """Configuration."""
    folders: tuple[Path, ...]
    """Of the centres that take part, the source first."""
    rows: Mapping[str, str]
    """Row that the run writes, and its name in the study."""
    run_dir: Path
    stages_dir: Path
    stages: Mapping[str, str]
    """Of a federated run: keys by the label of the phase, in order."""
    key: str
    """Fingerprint of everything the result depends on."""
    volumes: int
    """Size of the work, to do long jobs first."""
    one_target: bool = False
    has_paired_looks: bool = True
    scores_rounds: bool = False
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Commit, machine and command, for the record."""
    from_scratch: bool = False
    """Whether to begin at the first round, whatever stages there are."""

    @property
    def config(self) -> StudyConfig:
        """The study as this run sees it."""
        return StudyConfig.from_flat(self.flat)

    @property
    def log(self) -> Path:
        """Where the run writes what it says."""
        return self.run_dir.with_name(f"{self.run_dir.name}.log")

    @property
    def marker(self) -> dict[str, Any]:
        """What the finished run says about itself; nothing if it has not finished, or was another configuration's."""
        try:
            marker = dict(json.loads((self.run_dir / FINISHED).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}
        return marker if marker.get("key") == self.key else {}

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the marker that makes this job a finished one."""
        with replaced_atomically(self.run_dir / FINISHED) as draft:
            draft.write_text(json.dumps({"key": self.key, **facts}, indent=1) + "\n", encoding="utf-8")

    def forget(self) -> None:
        """Delete what this job left, so that it runs again."""
        shutil.rmtree(self.run_dir, ignore_errors=True)


def write_job(path: Path, job: Job) -> None:
    """Write a job down for another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as draft:
        draft.write_text(json.dumps(asdict(job), indent=1, default=str) + "\n", encoding="utf-8")


def read_job(path: Path) -> Job:
    """Read a job that another process wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    places = {key: Path(values[key]) for key in ("run_dir", "stages_dir")}
    folders = tuple(Path(folder) for folder in values["folders"])
    return Job(**{**values, **places, "folders": folders, "engine": Engine(values["engine"])})
