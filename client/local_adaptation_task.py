"""Shipped and adapted: what a target can do alone with the model it was sent. Nothing of it leaves the site."""

from __future__ import annotations

from client.evaluation_task import evaluate
from client.generation_tasks import label_scans
from client.segmentation_losses import anchored_consistency_loss, supervised_loss
from client.segmentation_tasks import following
from client.site_batches import labelled_examples
from client.workplace import Workplace
from diffuse_uda.algorithms.consistency import ramp_up
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.training.fitting import fit
from diffuse_uda.training.schedule import RoundPlan
from diffuse_uda.types import ModelName, StateDict

ADAPTED = "adapted"
"""Name of the site's own weights in its state."""


def adapt_locally(work: Workplace, weights: StateDict) -> SiteReply:
    """Target: label its scans with the shipped model, then train on the labels it trusts; keep the weights here.

    Supervised steps on (scan, pseudo-label, confidence) with flips, deformation and intensity augmentation, and
    consistency with a mean teacher as in the refinement, only without rendered pairs: there is no generator.
    """
    config = work.config
    sure = label_scans(work, weights).metrics
    examples = labelled_examples(work)
    student = work.model(ModelName.SEGMENTER, weights)
    teacher = work.model(ModelName.SEGMENTER, weights).requires_grad_(requires_grad=False).eval()
    plan, draw = local_plan(work), work.generator("batch")
    result = fit(
        student,
        anchored_consistency_loss(
            work,
            student,
            teacher,
            examples,
            supervised=supervised_loss(work, student, examples, draw=draw, batch_size=config.refine.batch_size),
            weight_at=lambda step: ramp_up((step + 1) / plan.total_steps, config.refine.lambda_max),
            draw=draw,
        ),
        plan,
        after_step=following(teacher, student, config.adapt.ema_decay),
    )
    work.state.save_tensors(ADAPTED, student.state_dict())
    return SiteReply(num_examples=len(examples), metrics={**sure, "loss": result.mean_loss})


def local_plan(work: Workplace) -> RoundPlan:
    """One round of as many steps as a target takes in adaptation and refinement together, at the refinement's rate."""
    config = work.config
    phases = (work.plan(config.adapt), work.plan(config.refine))
    num_steps = sum(plan.total_steps for plan in phases)
    return RoundPlan(
        num_local_steps=num_steps, first_step=0, total_steps=num_steps, learning_rate=config.refine.learning_rate
    )


def evaluate_locally(work: Workplace, _weights: StateDict) -> SiteReply:
    """Score the site's own adapted model; the received weights are what it started from and are not used.

    Raises:
        SiteTaskError: If this site has not adapted anything.
    """
    adapted = work.state.load_tensors(ADAPTED)
    if adapted is None:
        msg = (
            f"site {work.site.site_id!r} ({work.site.role.value}) holds no model of its own; "
            "wanted the phase adapt-locally before this evaluation, in the same workspace"
        )
        raise SiteTaskError(msg)
    return evaluate(work, adapted)
