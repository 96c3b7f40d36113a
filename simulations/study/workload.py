"""How much work a phase is: volumes that training looks at. For the order of jobs and for images per second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffuse_uda.config import FitConfig, StudyConfig
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Method, Phase, Task
from diffuse_uda.reporting.history_view import RoundRecord
from diffuse_uda.types import SiteRole
from simulations.references import supervised_steps

TARGET_PAIR = 4
"""Volumes of a step of cross-paired consistency: two scans, each in two looks."""

_LOOKS_OF_ENSEMBLE = 3
"""The student sees at most three looks of every volume."""

_LOOKS = 2
"""The source sees every volume of its adaptation twice."""


def volumes_of_round(config: StudyConfig, task: Task) -> int:
    """Volumes that one site's network learns from in one round, forward and backward.

    Teachers' answers, pseudo-labels and rendered pairs are the price of a step, not its harvest: they do not count.
    """
    pair = TARGET_PAIR if config.refine.lambda_max > 0 else 0
    budgets: dict[Task, tuple[FitConfig, int]] = {
        Task.WARM_UP: (config.warm_up, config.warm_up.batch_size),
        Task.ADAPT_SOURCE: (config.adapt, _LOOKS * config.adapt.batch_size),
        Task.ADAPT_TARGET: (config.adapt, TARGET_PAIR),
        Task.RECOLOUR: (config.recolour, config.recolour.batch_size),
        Task.DIFFUSE: (config.diffuse, config.diffuse.batch_size),
        Task.REFINE_SOURCE: (config.refine, config.refine.batch_size),
        Task.REFINE_TARGET: (config.refine, config.refine.batch_size + pair),
        Task.ENSEMBLE: (config.ensemble, _LOOKS_OF_ENSEMBLE * config.ensemble.batch_size),
    }
    if task is Task.ADAPT_LOCALLY:  # alone, in one round, all that a target does in adaptation and refinement
        num_steps = sum(
            fitting.num_rounds * max(1, round(fitting.num_local_steps * fitting.target_step_fraction))
            for fitting in (config.adapt, config.refine)
        )
        return num_steps * (config.refine.batch_size + pair)
    if task not in budgets:
        return 0
    fitting, volumes_per_step = budgets[task]
    share = fitting.target_step_fraction if task in {Task.ADAPT_TARGET, Task.REFINE_TARGET} else 1.0
    return max(1, round(fitting.num_local_steps * share)) * volumes_per_step


def volumes_of_phase(config: StudyConfig, phase: Phase, roles: Sequence[SiteRole]) -> int:
    """Volumes of all rounds of a phase at sites of these roles."""
    taking_part = roles if phase.partner is None else (SiteRole.SOURCE, SiteRole.TARGET)
    return phase.num_rounds * sum(
        volumes_of_round(config, phase.tasks[role]) for role in taking_part if role in phase.tasks
    )


def volumes_of_study(config: StudyConfig, roles: Sequence[SiteRole]) -> int:
    """Volumes of a method from its first phase to its last."""
    return sum(volumes_of_phase(config, phase, roles) for phase in _method(config, roles).phases)


def _method(config: StudyConfig, roles: Sequence[SiteRole]) -> Method:
    return build_method(config, num_targets=sum(role is SiteRole.TARGET for role in roles))


def supervised_volumes(config: StudyConfig) -> int:
    """Volumes of the target-supervised reference, as `simulations.references` plans it."""
    return supervised_steps(config) * config.warm_up.batch_size


def images_by_row(config: StudyConfig, history: Sequence[RoundRecord], roles: Mapping[str, SiteRole]) -> dict[str, int]:
    """Volumes that training had seen when a row was scored.

    Args:
        config: Of the run.
        history: Its rounds, oldest first.
        roles: By site id.
    """
    phases = {phase.label: phase for phase in _method(config, list(roles.values())).phases}
    seen = 0
    by_row: dict[str, int] = {}
    for record in history:
        phase = phases[record.phase]
        if phase.row:
            by_row.setdefault(phase.row, seen)
        seen += sum(
            volumes_of_round(config, phase.tasks[roles[site_id]])
            for site_id in record.sites
            if roles[site_id] in phase.tasks
        )
    return by_row
