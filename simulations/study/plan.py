"""From a study to its jobs: every run of the ladder with every seed, named by all that its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.site import EvaluationPart
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.reporting.machine import describe_machine
from diffuse_uda.reporting.study_results import HEADLINE
from diffuse_uda.types import Scalar, SiteRole
from simulations.centres import Centre
from simulations.study.ablations import ablations
from simulations.study.fingerprint import CHECKOUT, code_digest, config_without, data_digest, digest, stage_keys
from simulations.study.job import Job
from simulations.study.ladder import Engine, Run, ladder
from simulations.study.workload import supervised_volumes, volumes_of_study

_FEDERATED_CODE = ("diffuse_uda", "client", "server")
_CODE = {
    Engine.FEDERATED: _FEDERATED_CODE,
    Engine.CENTRALISED: (*_FEDERATED_CODE, "simulations/centralised.py", "simulations/joint_loss.py"),
    Engine.TARGET_SUPERVISED: (*_FEDERATED_CODE, "simulations/references.py"),
}
_NEVER_READ = {
    Engine.FEDERATED: (),
    Engine.CENTRALISED: ("federation",),
    Engine.TARGET_SUPERVISED: (
        "method",
        "first_stage",
        "ensemble",
        "denoiser",
        "diffusion",
        "diffuse",
        "synthesise",
        "adapt",
        "style",
        "pseudo_label",
        "exchange",
        "federation",
    ),
}
"""Sections of the configuration that an engine never reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What to compare, where, how often."""

    name: str
    config: StudyConfig
    """What all runs have in common; their seed is another matter."""
    centres: tuple[Centre, ...]
    seeds: tuple[int, ...]
    part: EvaluationPart
    out: Path
    """Folder of all runs of this study."""
    command: str
    rungs: Callable[[StudyConfig], tuple[Run, ...]] = ladder
    """The runs whose rows are compared, from the configuration."""
    taken_apart: Callable[[StudyConfig], tuple[Run, ...]] = ablations
    """Its ablations."""
    headline: str = HEADLINE
    """The row that is compared with every other."""

    def stages_dir(self, seed: int) -> Path:
        """Where boundaries between phases are kept."""
        return self.out / "stages" / f"seed-{seed}"

    def runs(self, *, with_ablations: bool = True) -> tuple[Run, ...]:
        """The ladder, and what else is compared with it."""
        return (*self.rungs(self.config), *(self.taken_apart(self.config) if with_ablations else ()))


def jobs_of(study: Study, *, code: Path = CHECKOUT, from_scratch: Collection[str] = ()) -> list[Job]:
    """Every job of a study, ablations included, whether it is done or not.

    Args:
        study: What to compare.
        code: Root of the code that the jobs will run.
        from_scratch: Names of runs that shall not go on from kept stages.
    """
    environment = {**describe_machine(), "command": study.command}
    return [
        replace(job, environment=environment, from_scratch=run.name in from_scratch)
        for seed in study.seeds
        for run in study.runs()
        for job in _jobs_of_run(study, run, seed, code)
    ]


def _jobs_of_run(study: Study, run: Run, seed: int, code: Path) -> Iterator[Job]:
    flat: dict[str, Scalar] = {**study.config.to_flat(), **run.changes, "seed": seed, "compute.num-threads": 1}
    if study.config.source.num_labelled:
        flat["source.label-draw"] = seed
    config = StudyConfig.from_flat(flat)
    source = [centre for centre in study.centres if centre.role is SiteRole.SOURCE]
    targets = [centre for centre in study.centres if centre.role is SiteRole.TARGET]
    groups = [[*source, target] for target in targets] if run.one_target else [[*source, *targets]]
    for centres in groups:
        folder = f"{run.name}-{centres[-1].site_id}" if run.one_target else run.name
        roles = [centre.role for centre in centres]
        folders = tuple(centre.folder.resolve() for centre in centres)
        circumstances = digest([data_digest(folders, roles), code_digest(code, *_CODE[run.engine])])
        stages = (
            stage_keys(config, circumstances, num_targets=len(centres) - 1) if run.engine is Engine.FEDERATED else {}
        )
        yield Job(
            name=f"seed-{seed}/{folder}",
            run=run.name,
            engine=run.engine,
            seed=seed,
            flat=config.to_flat(),
            folders=folders,
            rows=run.rows,
            run_dir=study.out / f"seed-{seed}" / folder,
            stages_dir=study.stages_dir(seed),
            stages=stages,
            key=digest(
                [
                    run.engine.value,
                    run.scores_rounds,
                    run.has_paired_looks,
                    list(stages.values())[-1] if stages else config_without(config, _NEVER_READ[run.engine]),
                    circumstances,
                ]
            ),
            volumes=supervised_volumes(config)
            if run.engine is Engine.TARGET_SUPERVISED
            else volumes_of_study(config, roles),
            one_target=run.one_target,
            has_paired_looks=run.has_paired_looks,
            scores_rounds=run.scores_rounds,
        )


def chosen_runs(study: Study, rows: Sequence[str], *, with_ablations: bool) -> list[str]:
    """Names of the runs that give the wanted rows; all of the ladder (and the ablations) if none is named.

    Raises:
        ConfigError: If nothing gives a row.
    """
    if not rows:
        return [run.name for run in study.runs(with_ablations=with_ablations)]
    by_row = {row: run.name for run in study.runs() for row in run.rows.values()}
    if unknown := [row for row in rows if row not in by_row]:
        msg = f"no run gives the rows {unknown}; this study has {sorted(by_row)}"
        raise ConfigError(msg)
    return list(dict.fromkeys(by_row[row] for row in rows))
