"""Loss of one step of self-ensembling, given the looks of its batch (MT-UDA, LE-UDA). No drawing, no state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffuse_uda.algorithms.adversarial import critic_loss, fooling_loss
from diffuse_uda.algorithms.self_ensembling import inter_domain_consistency, intra_domain_consistency, teacher_noise
from diffuse_uda.models.critics import CriticisedSegmenter, verdicts

Looks = Sequence[Float[Tensor, "batch 1 i j k"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsemblingTerms:
    """The unweighted terms of a step."""

    intra: Float[Tensor, ""]
    inter: Float[Tensor, ""]
    fooling: Float[Tensor, ""]
    """What the student pays for being told from its teachers; 0 without critics."""
    critics: Float[Tensor, ""]
    """What the critics pay for their mistakes; 0 without critics."""
    logits: tuple[Float[Tensor, "batch klass i j k"], ...]
    """The student's, one tensor a source-like look, for whoever has labels."""


def ensembling_terms(
    student: nn.Module,
    teacher: nn.Module,
    like_source: Looks,
    like_target: Looks,
    generator: torch.Generator,
    *,
    both_ways: bool = False,
) -> EnsemblingTerms:
    """Student in the source-like looks of some scans, its teacher in all of them; or the other way round as well.

    At the source {s, s->t->s} are source-like and {s->t} is target-like; at a target {t->s} is, and {t, t->s->t} are.
    Intra: the first source-like look against the same with noise. Inter: every source-like look against every
    target-like one. Critics, where the student has them, tell its features from its teacher's in both comparisons.

    Args:
        student: The segmenter that learns.
        teacher: Its moving average; gets no gradient.
        like_source: At least one look of the batch.
        like_target: At least one look of the same batch.
        generator: CPU generator of the teacher's noise.
        both_ways: Whether the student learns in the target-like looks, too: every term is the mean of both ways, and
            logits are those of all looks, source-like ones first.
    """
    there = _one_way(student, teacher, like_source, like_target, generator)
    if not both_ways:
        return there
    back = _one_way(student, teacher, like_target, like_source, generator)
    return EnsemblingTerms(
        intra=(there.intra + back.intra) / 2,
        inter=(there.inter + back.inter) / 2,
        fooling=(there.fooling + back.fooling) / 2,
        critics=(there.critics + back.critics) / 2,
        logits=there.logits + back.logits,
    )


def _one_way(
    student: nn.Module, teacher: nn.Module, like_source: Looks, like_target: Looks, generator: torch.Generator
) -> EnsemblingTerms:
    """Student in the first looks, its teacher in all of them."""
    num_own, num_other = len(like_source), len(like_target)
    logits, features = _answers(student, torch.cat(list(like_source)))
    with torch.no_grad():
        taught, taught_features = _answers(teacher, torch.cat([teacher_noise(like_source[0], generator), *like_target]))
    own = [part.float().softmax(dim=1) for part in logits.chunk(num_own)]
    same_look, *other_looks = [part.float().softmax(dim=1) for part in taught.chunk(1 + num_other)]
    pairs = [inter_domain_consistency(mine, theirs) for mine in own for theirs in other_looks]
    zero = logits.new_zeros(())
    fooling, critics = zero, zero
    if isinstance(student, CriticisedSegmenter):
        first = [part.chunk(num_own)[0] for part in features]
        first_taught = [part.chunk(1 + num_other)[0] for part in taught_features]
        others_taught = [torch.cat(part.chunk(1 + num_other)[1:]) for part in taught_features]
        for judges, mine, theirs in (
            (student.intra, first, first_taught),
            (student.inter, features, others_taught),
        ):
            fooling = fooling + fooling_loss(verdicts(judges, mine, learns=False))
            critics = critics + critic_loss(verdicts(judges, mine, learns=True), verdicts(judges, theirs, learns=True))
    return EnsemblingTerms(
        intra=intra_domain_consistency(own[0], same_look),
        inter=torch.stack(pairs).mean(),
        fooling=fooling,
        critics=critics,
        logits=logits.chunk(num_own),
    )


def _answers(network: nn.Module, volumes: Tensor) -> tuple[Tensor, list[Tensor]]:
    if isinstance(network, CriticisedSegmenter):
        return network.with_features(volumes)
    logits: Tensor = network(volumes)
    return logits, []
