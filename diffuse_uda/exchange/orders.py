"""What server and client say to each other, in words of the method and free of any transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from diffuse_uda.data.fingerprint import Fingerprint
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import SiteRole, StateDict


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteCard:
    """How a site introduces itself before round 1."""

    site_id: str
    role: SiteRole
    num_cases: int
    """Training cases; the weight in an average."""
    label_names: tuple[str, ...] = ()
    """Names of the classes in the order of their values, background first; a target may have none."""
    num_test_cases: int = 0
    """Labelled held-out cases; 0 means that the site cannot be evaluated."""
    style_block: Tensor | None = None
    """Mean low-frequency amplitudes, only where study and site both allow it."""
    fingerprint: Fingerprint | None = None
    """What its scans are like, only where study and site both allow it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkOrder:
    """One round of work for one site."""

    task: Task
    phase: str
    """Label of the phase (`Phase.label`)."""
    server_round: int
    """Round within the phase, from 1."""
    num_rounds: int
    """Rounds of the phase."""
    pass_index: int
    row: str
    """For an evaluation: the row of `results.json` it belongs to."""
    domains: tuple[str, ...]
    """Site ids in the order of the denoiser's domain table; the source is first."""
    label_names: tuple[str, ...]
    """Classes of the study, background first: the source's label map."""
    num_participants: int = 1
    """Sites at work in this round: a simulation on one machine shares its cores between them."""
    partner: int | None = None
    """Domain of the one target that this round is for; None where it is for all."""
    number: int = 0
    """Place of this round among all rounds of the run, from 1; 0 outside of any run."""
    after: int = 0
    """Number of the last round for which the server has a usable reply of this site; 0 for none."""
    style_blocks: Mapping[str, Tensor] = field(default_factory=dict)
    """Published mean amplitude blocks by site id; empty unless the study exchanges them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteReply:
    """What a task hands to the egress policy."""

    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    weights: StateDict | None = None
    """The trained model, or None when the phase exchanges nothing."""
