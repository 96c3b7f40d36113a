"""LE-UDA, federated (arXiv:2212.02078), and its predecessor MT-UDA (arXiv:2203.12454), which has no critics.

Phase by phase:

    warm-up                   source: supervised steps on its labelled scans, hence the row `source-only` for nothing
    repeat ensemble.num_turns times:
      pseudo-label            all: their unlabelled scans, the source's included
      describe                all: what their classes look like, a few numbers in the generator's weights
      keep-table              all: that table, with which every step shows its scans in another domain's look and back
      diffuse, translate      instead, where the generator translates: all: its steps; every scan across and back
      ensemble                for every target: source: supervision on its labelled scans in all looks; both: the
                              student in one look against its teacher in the same look with noise, and in the other
                              look; critics that tell the student's features from the teacher's
      evaluate

Every loss touches scans of one origin only, so each is computed where they are, and averaging loses nothing.
"""

from __future__ import annotations

from diffuse_uda.config import StudyConfig, Translator
from diffuse_uda.methods import source_only
from diffuse_uda.methods.phase import Exchange, Method, Phase, PhaseName, Task, evaluation
from diffuse_uda.types import ModelName, SiteRole


def build(config: StudyConfig) -> Method:
    """Declare LE-UDA, or MT-UDA where the critics weigh nothing."""
    phases = source_only.build(config).phases
    for turn in range(config.ensemble.num_turns):
        phases += _turn(config, turn)
    phases += (evaluation("le-uda", asks_source=not config.ensemble.per_target),)
    return Method(name="le-uda", phases=phases)


def _turn(config: StudyConfig, turn: int) -> tuple[Phase, ...]:
    return (
        _of_all(
            # later scans are labelled by the students alone: the models remembered before them are far worse
            PhaseName.RELABEL if turn else PhaseName.PSEUDO_LABEL,
            ModelName.SEGMENTER,
            Task.PSEUDO_LABEL,
            turn,
        ),
        *([_of_all(PhaseName.DESCRIBE, ModelName.DENOISER, Task.DESCRIBE, turn)] if _has_table(config) else []),
        *_looks(config, turn),
        _ensemble(config, turn),
    )


def _ensemble(config: StudyConfig, turn: int) -> Phase:
    # a target whose steps would count for nothing rests
    roles = [SiteRole.SOURCE] if config.ensemble.source_weight == 1 else SiteRole
    return Phase(
        name=PhaseName.ENSEMBLE,
        model=ModelName.SEGMENTER,
        tasks=dict.fromkeys(roles, Task.ENSEMBLE),
        exchange=Exchange.WEIGHTS,
        num_rounds=config.ensemble.num_rounds,
        pass_index=turn,
        per_target=config.ensemble.per_target,
    )


def _looks(config: StudyConfig, turn: int) -> list[Phase]:
    """What has to be at every site before it can show its scans in another domain's look."""
    if config.ensemble.has_generated_looks:
        return [
            _of_all(PhaseName.DIFFUSE, ModelName.DENOISER, Task.DIFFUSE, turn, config.diffuse.num_rounds),
            _of_all(PhaseName.TRANSLATE, ModelName.DENOISER, Task.TRANSLATE, turn),
        ]
    if config.ensemble.translator is Translator.CLASS_CONTRAST:
        return [_of_all(PhaseName.KEEP_TABLE, ModelName.DENOISER, Task.KEEP_TABLE, turn)]
    return []


def _has_table(config: StudyConfig) -> bool:
    uses_it = config.ensemble.has_generated_looks or config.ensemble.translator is Translator.CLASS_CONTRAST
    return config.denoiser.class_table and uses_it


def _of_all(name: PhaseName, model: ModelName, task: Task, turn: int, num_rounds: int = 1) -> Phase:
    stays = task in {Task.PSEUDO_LABEL, Task.TRANSLATE, Task.KEEP_TABLE}
    return Phase(
        name=name,
        model=model,
        tasks={SiteRole.SOURCE: task, SiteRole.TARGET: task},
        exchange=Exchange.NOTHING if stays else Exchange.WEIGHTS,
        num_rounds=num_rounds,
        pass_index=turn,
    )
