"""Rounds of the segmenter: warm-up, ASC / ASC+, refinement. Each receives the global weights and returns its own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from client.refinement_losses import recolour_loss, refine_source_loss, refine_target_loss
from client.segmentation_losses import (
    adapt_source_loss,
    adapt_target_loss,
    adaptation_ramp,
    supervised_loss,
)
from client.site_batches import labelled_examples, training_examples
from client.workplace import Workplace, trained
from diffuse_uda.algorithms.ema import ema_decay, update_ema_
from diffuse_uda.config import FitConfig, StyleProvider, WarmUpConfig
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.landmarks import Landmark, passing
from diffuse_uda.training.batches import Example
from diffuse_uda.training.fitting import fit
from diffuse_uda.training.looks import Look, look_of
from diffuse_uda.types import ModelName, StateDict

LARGEST_HALF_WIDTH = 6
"""Half-width of published and mined amplitude blocks: 726 numbers."""


def warm_up(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on its own scans, as any single hospital could train."""
    return fit_supervised(work, weights, training_examples(work), work.config.warm_up)


def fit_supervised(work: Workplace, weights: StateDict, examples: list[Example], fitting: WarmUpConfig) -> SiteReply:
    """Supervised steps on labelled examples; a share of the samples is shown in looks that nobody has."""
    student = work.model(ModelName.SEGMENTER, weights)
    loss_at = supervised_loss(
        work,
        student,
        examples,
        draw=work.generator("batch"),
        batch_size=fitting.batch_size,
        random_look_share=fitting.random_look_share,
    )
    return fitted(work, student, loss_at, fitting, len(examples))


def adapt_source(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on its scans and on their copies in another look (ASC, supervised part)."""
    examples = training_examples(work)
    student = work.model(ModelName.SEGMENTER, weights)
    loss_at = adapt_source_loss(work, student, examples, looks=_foreign_looks(work), draw=work.generator("batch"))
    return fitted(work, student, loss_at, work.config.adapt, len(examples))


def adapt_target(work: Workplace, weights: StateDict) -> SiteReply:
    """Target: cross-paired consistency with the mean teacher (ASC, unsupervised part)."""
    examples = training_examples(work)
    student, teacher = work.model(ModelName.SEGMENTER, weights), _teacher(work, weights)
    loss_at = adapt_target_loss(
        work, student, teacher, examples, looks=_foreign_looks(work), draw=work.generator("batch")
    )
    # The ramp acts on the learning rate: AdamW would normalise a factor on the loss away. Under SGD both are the same.
    ramp, follow = adaptation_ramp(work), _followed_by(work, teacher, student, work.config.adapt)
    reply = fitted(work, student, loss_at, work.config.adapt, len(examples), rate_scale=ramp, after_step=follow)
    work.state.save_tensors("teacher", teacher.state_dict())
    return reply


def recolour(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on its scans as a target would have scanned them, as far as the class table tells."""
    examples = labelled_examples(work)
    student = work.model(ModelName.SEGMENTER, weights)
    loss_at = recolour_loss(work, student, examples, draw=work.generator("batch"))
    return fitted(work, student, loss_at, work.config.recolour, len(examples))


def refine_source(work: Workplace, weights: StateDict) -> SiteReply:
    """Source: supervised steps on real scans in random looks and on rendered pairs in the targets' looks."""
    examples = labelled_examples(work)
    student = work.model(ModelName.SEGMENTER, weights)
    loss_at = refine_source_loss(work, student, examples, draw=work.generator("batch"))
    return fitted(work, student, loss_at, work.config.refine, len(examples))


def refine_target(work: Workplace, weights: StateDict) -> SiteReply:
    """Target: supervised steps on rendered pairs and pseudo-labelled scans as an anchor, consistency on its scans."""
    examples = labelled_examples(work)
    student, teacher = work.model(ModelName.SEGMENTER, weights), _teacher(work, weights)
    loss_at = refine_target_loss(work, student, teacher, examples, draw=work.generator("batch"))
    follow = _followed_by(work, teacher, student, work.config.refine)
    reply = fitted(work, student, loss_at, work.config.refine, len(examples), after_step=follow)
    work.state.save_tensors("teacher", teacher.state_dict())
    return reply


def following(teacher: nn.Module, student: nn.Module, largest_decay: float) -> Callable[[int], None]:
    """EMA of the student after every step; the decay grows with the step that it is told."""
    return lambda step: update_ema_(teacher, student, ema_decay(step, largest_decay))


def _followed_by(work: Workplace, teacher: nn.Module, student: nn.Module, fitting: FitConfig) -> Callable[[int], None]:
    """The teacher follows this round's student; the decay counts the steps of the phase.

    Counted anew in every round it would begin with 0, and the teacher of all earlier rounds would be lost in one step.
    """
    follow, first_step = following(teacher, student, work.config.adapt.ema_decay), work.plan(fitting).first_step
    return lambda step: follow(first_step + step)


def _teacher(work: Workplace, weights: StateDict) -> nn.Module:
    """Last round's teacher moved towards the new global weights, or a copy of them in the first round.

    The received weights are remembered as well: the last few make the ensemble that labels the scans.
    """
    remember(work, weights)
    start = {name: tensor.clone() for name, tensor in weights.items()}
    kept = work.state.load_tensors("teacher")
    if kept is not None:
        update_ema_(start, kept, 1.0 - work.config.adapt.teacher_round_decay)
    teacher = work.model(ModelName.SEGMENTER, start)
    return teacher.requires_grad_(requires_grad=False).eval()


def remember(work: Workplace, weights: StateDict) -> None:
    """Keep the received segmenter at a target: the last few make the ensemble that labels its scans."""
    work.state.remember_global(weights, keep=work.config.pseudo_label.num_ensembled_rounds - 1)


def _foreign_looks(work: Workplace) -> list[Look]:
    """What this site knows of the other side's looks; nothing with provider `none`, or before the first rendering."""
    provider = work.config.style.provider
    if provider is StyleProvider.MEAN_BLOCK:
        others = work.order.domains[1:] if work.domain == 0 else work.order.domains[:1]
        return [Look(block=work.order.style_blocks[site]) for site in others if site in work.order.style_blocks]
    if provider is StyleProvider.SYNTHETIC:
        rendered = work.state.load_examples("synthetic") + work.state.load_examples("looks")
        foreign = [pair for pair in rendered if pair.domain != work.domain]
        return [look_of(pair.image, LARGEST_HALF_WIDTH) for pair in foreign]
    return []


def fitted(
    work: Workplace,
    student: nn.Module,
    loss_at: Callable[[int], Tensor],
    fitting: FitConfig,
    num_examples: int,
    *,
    rate_scale: float = 1.0,
    after_step: Callable[[int], None] | None = None,
) -> SiteReply:
    """Take the round's steps with the optimiser this site kept, keep it again, reply with the weights."""

    def stepped(step: int) -> None:
        passing(Landmark.SEGMENTATION_STEP)
        if after_step is not None:
            after_step(step)

    result = fit(
        student,
        loss_at,
        work.plan(fitting).scaled(rate_scale),
        optimizer_state=work.state.load_optimizer(work.order.phase) if work.order.server_round > 1 else None,
        after_step=stepped,
    )
    work.state.save_optimizer(work.order.phase, result.optimizer_state)
    return trained(student, num_examples, {"loss": result.mean_loss})
