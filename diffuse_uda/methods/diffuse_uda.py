"""Diffuse-UDA, federated (arXiv:2408.05985).

Phase by phase:

    ASC+                      every phase of ASC+, hence its row for nothing; or every phase of LE-UDA (`first_stage`)
    pseudo-label              targets (after LE-UDA the source, too): mean softmax of the last global models, argmax,
                              small components removed
    repeat recolour.num_turns times:
      describe, keep-table    all: what their classes look like, a few numbers in the generator's weights
      recolour                for every target: source: its exact labels in that target's contrast, without a network;
                              a segmenter of that target's own, whose labels the generator is worth training on
      relabel                 targets: as above, with their own segmenter
    repeat num_passes times:
      pseudo-label            from the second pass on
      diffuse                 source: (image, label); targets: (image, pseudo-label); average the denoiser
      synthesise              source: its deformed labels in every target's style; targets that refine: theirs in
                              their own
      refine                  for every target: source: real + synthetic pairs in its look; the target, unless the
                              source counts for everything: synthetic pairs, pseudo-labels, consistency; average of the
                              two, a segmenter of that target's own
      evaluate
"""

from __future__ import annotations

from dataclasses import replace

from diffuse_uda.config import StudyConfig, StyleProvider
from diffuse_uda.methods import asc_plus, le_uda
from diffuse_uda.methods.phase import Exchange, Method, Phase, PhaseName, Task, evaluation
from diffuse_uda.types import ModelName, SiteRole

RECOLOURED = "recoloured"
"""Row of the segmenters before any generator was trained: what the class table alone is worth."""


def _labelling(name: PhaseName, pass_index: int = 0) -> Phase:
    return Phase(
        name=name,
        model=ModelName.SEGMENTER,
        tasks={SiteRole.TARGET: Task.PSEUDO_LABEL},
        exchange=Exchange.NOTHING,
        num_rounds=1,
        pass_index=pass_index,
    )


def _recolouring(config: StudyConfig, turn: int) -> tuple[Phase, ...]:
    """Before the first pass: exact labels in every target's contrast; the class table needs no trained generator."""
    is_last = turn == config.recolour.num_turns - 1
    scores = (evaluation(RECOLOURED, asks_source=not config.refine.per_target),) if is_last else ()
    return (
        Phase(
            name=PhaseName.DESCRIBE,
            model=ModelName.DENOISER,
            tasks={SiteRole.SOURCE: Task.DESCRIBE, SiteRole.TARGET: Task.DESCRIBE},
            exchange=Exchange.WEIGHTS,
            num_rounds=1,
            pass_index=turn,
        ),
        Phase(
            name=PhaseName.KEEP_TABLE,
            model=ModelName.DENOISER,
            tasks={SiteRole.SOURCE: Task.KEEP_TABLE},
            exchange=Exchange.NOTHING,
            num_rounds=1,
            pass_index=turn,
        ),
        Phase(
            name=PhaseName.RECOLOUR,
            model=ModelName.SEGMENTER,
            tasks={SiteRole.SOURCE: Task.RECOLOUR},
            exchange=Exchange.WEIGHTS,
            num_rounds=config.recolour.num_rounds,
            per_target=config.refine.per_target,
            pass_index=turn,
        ),
        *scores,
        _labelling(PhaseName.RELABEL, turn),
    )


def _generator_pass(config: StudyConfig, pass_index: int) -> tuple[Phase, ...]:
    # a target whose steps would count for nothing rests, and renders only what it looks at
    targets = {SiteRole.TARGET: Task.REFINE_TARGET} if config.refine.source_weight < 1 else {}
    is_needed = bool(targets) or config.style.provider is StyleProvider.SYNTHETIC
    looks = {SiteRole.TARGET: Task.SYNTHESISE} if is_needed else {}
    return (
        Phase(
            name=PhaseName.DIFFUSE,
            model=ModelName.DENOISER,
            tasks={SiteRole.SOURCE: Task.DIFFUSE, SiteRole.TARGET: Task.DIFFUSE},
            exchange=Exchange.WEIGHTS,
            num_rounds=config.diffuse.num_rounds,
            pass_index=pass_index,
        ),
        Phase(
            name=PhaseName.SYNTHESISE,
            model=ModelName.DENOISER,
            tasks={SiteRole.SOURCE: Task.SYNTHESISE, **looks},
            exchange=Exchange.NOTHING,
            num_rounds=1,
            pass_index=pass_index,
        ),
        Phase(
            name=PhaseName.REFINE,
            model=ModelName.SEGMENTER,
            tasks={SiteRole.SOURCE: Task.REFINE_SOURCE, **targets},
            exchange=Exchange.WEIGHTS,
            num_rounds=config.refine.num_rounds,
            per_target=config.refine.per_target,
            pass_index=pass_index,
        ),
    )


def recolours(config: StudyConfig) -> bool:
    """Whether recoloured scans come before the first pass."""
    return config.recolour.num_rounds > 0 and config.denoiser.class_table


def build(config: StudyConfig) -> Method:
    """Declare Diffuse-UDA with `config.num_passes` passes; an early pass is reported as `diffuse-uda-pass-<n>`."""
    if config.first_stage == "le-uda":
        first = le_uda.build(config).phases
        own = tuple(replace(phase, after="le-uda") for phase in _own_phases(config, labels_source=True))
    else:
        first, own = asc_plus.build(config).phases, _own_phases(config, labels_source=False)
    return Method(name="diffuse-uda", phases=(*first, *own), adapt=asc_plus.VARIANT)


def _own_phases(config: StudyConfig, *, labels_source: bool) -> tuple[Phase, ...]:
    """What follows the first stage."""
    labelling = _labelling(PhaseName.PSEUDO_LABEL)
    if labels_source:
        labelling = replace(labelling, tasks=dict.fromkeys(SiteRole, Task.PSEUDO_LABEL))
    phases: tuple[Phase, ...] = (labelling,)
    if recolours(config):
        for turn in range(config.recolour.num_turns):
            phases += _recolouring(config, turn)
    for index in range(config.num_passes):
        is_last = index == config.num_passes - 1
        row = "diffuse-uda" if is_last else f"diffuse-uda-pass-{index + 1}"
        phases += (
            *([_labelling(PhaseName.PSEUDO_LABEL, index)] if index else []),
            *_generator_pass(config, index),
            evaluation(row, pass_index=index, asks_source=not config.refine.per_target),
        )
    return phases
