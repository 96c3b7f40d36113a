"""What may leave a site: an allow-list. Whatever is not on it stays, and the site says the name of what it kept."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ExchangeError
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange, Phase
from diffuse_uda.models import build_model
from diffuse_uda.types import SiteRole, StateDict

COUNTS_AND_LOSSES = frozenset(
    {"confidence", "learning-rate", "loss", "num-local-steps", "pairs", "seconds", "withheld-scores"}
    | {f"loss/{term}" for term in ("consistency", "diffusion", "supervised", "synthetic")}
)
"""Scalars about the work itself, by full name."""

SCORES = frozenset({"assd-mm", "dice", "hd95-mm", "nsd", "undefined"})
"""Scalars about cases: `dice` is the mean over labels, `dice/<label>` belongs to a label of the study."""

MAX_STYLE_SHARE = 0.05
"""Most values a style block may have, as a share of one patch's voxels: a block is a look, never an image."""

MAX_LABELS = 256
MAX_SCALARS = 2048
_SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/()-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorForm:
    """What a tensor looks like without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressPolicy:
    """One reply's allow-list, made before the work begins from what the site received."""

    tensors: Mapping[str, TensorForm] = field(default_factory=dict)
    """Tensors of the model that came in, if the phase exchanges weights; empty otherwise."""
    label_names: tuple[str, ...] = ()
    """Labels that scores may be about."""
    max_message_bytes: int
    min_cases_for_statistics: int
    """Scores over fewer cases than this tell too much about single ones."""

    def check(self, reply: SiteReply) -> None:
        """Refuse a reply that holds anything beyond the list.

        Raises:
            ExchangeError: Naming the keys, never the values. It is meant for the site's own log; a key may be a
                patient's name, so it has to go through `sealed` as every error does.
        """
        problems = [*self._tensor_problems(reply.weights), *self._scalar_problems(reply)]
        if not _is_count(reply.num_examples):
            problems.append("num-examples, which is no count")
        if problems:
            msg = f"not allowed to leave the site: {'; '.join(problems)}"
            raise ExchangeError(msg)

    def without_small_groups(self, reply: SiteReply) -> SiteReply:
        """Leave out scores over fewer than `min_cases_for_statistics` cases, and say how many scores that were."""
        scores = [key for key in reply.metrics if self._is_score(key)]
        if not scores or reply.num_examples >= self.min_cases_for_statistics:
            return reply
        kept = {key: value for key, value in reply.metrics.items() if key not in scores}
        return replace(reply, metrics=kept | {"withheld-scores": float(len(scores))})

    def _tensor_problems(self, weights: StateDict | None) -> list[str]:
        weights = weights if weights is not None else {}
        problems = []
        if foreign := weights.keys() - self.tensors.keys():
            problems.append(f"tensors {_listed(foreign)}, which are not part of the received model")
        if weights and (missing := self.tensors.keys() - weights.keys()):
            problems.append(f"a model without {_listed(missing)}")
        for name, tensor in weights.items():
            wanted = self.tensors.get(name)
            if wanted is None:
                continue
            if not isinstance(tensor, Tensor) or (tuple(tensor.shape), tensor.dtype) != (wanted.shape, wanted.dtype):
                problems.append(f"{name!r} in another shape or dtype than {wanted.shape}, {wanted.dtype}")
            elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                problems.append(f"{name!r} with values that are not finite: training diverged")
        size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values() if isinstance(tensor, Tensor))
        if size > self.max_message_bytes:
            problems.append(f"weights of {size} bytes, allowed are {self.max_message_bytes}")
        return problems

    def _scalar_problems(self, reply: SiteReply) -> list[str]:
        problems = []
        foreign = [key for key in reply.metrics if key not in COUNTS_AND_LOSSES and not self._is_score(key)]
        if foreign:
            problems.append(f"scalars {_listed(foreign)}, which are not on the list")
        if wrong := [key for key, value in reply.metrics.items() if not _is_finite_number(value)]:
            problems.append(f"scalars {_listed(wrong)}, which are no finite numbers")
        if len(reply.metrics) > MAX_SCALARS:
            problems.append(f"{len(reply.metrics)} scalars, allowed are {MAX_SCALARS}")
        scores = [key for key in reply.metrics if self._is_score(key)]
        if scores and reply.num_examples < self.min_cases_for_statistics:
            problems.append(f"scores {_listed(scores)} over fewer than {self.min_cases_for_statistics} cases")
        return problems

    def _is_score(self, key: str) -> bool:
        name, _, label = key.partition("/")
        return name in SCORES and (key == name or label in self.label_names)


def reply_policy(config: StudyConfig, role: SiteRole, order: WorkOrder, received: StateDict) -> EgressPolicy:
    """Make the allow-list for one order, and refuse an order that the study's method does not contain.

    The site reads the method itself: a server can neither ask for weights where the method exchanges none, nor have a
    task done by a site of the wrong role.

    Raises:
        ExchangeError: If the method has no such phase, or gives this role another task in it.
    """
    phase = _phase_of(config, order)
    if phase.tasks.get(role) is not order.task:
        msg = f"order refused: in phase {phase.label!r} a {role.value} is not asked to {order.task.value!r}"
        raise ExchangeError(msg)
    forms = {name: TensorForm(shape=tuple(tensor.shape), dtype=tensor.dtype) for name, tensor in received.items()}
    return EgressPolicy(
        tensors=forms if phase.exchange is Exchange.WEIGHTS else {},
        label_names=order.label_names,
        max_message_bytes=config.exchange.max_message_bytes,
        min_cases_for_statistics=config.exchange.min_cases_for_statistics,
    )


def describe_policy(config: StudyConfig, num_classes: int) -> tuple[dict[str, list[str]], list[str]]:
    """List what this study lets out of a site, for a report or a data protection officer.

    Returns:
        Names of the tensors by model, and names of the scalars; `<label>` stands for each label of the study.
    """
    models = {phase.model for phase in build_method(config).phases if phase.exchange is Exchange.WEIGHTS}
    tensors = {}
    for name in sorted(models):
        with torch.device("meta"):  # names are wanted, not numbers
            tensors[name.value] = list(build_model(config, name, num_classes).state_dict())
    scores = [key for name in sorted(SCORES) for key in (name, f"{name}/<label>")]
    return tensors, [*sorted(COUNTS_AND_LOSSES), *scores]


def check_card(card: SiteCard, config: StudyConfig, *, site_allows_style: bool) -> None:
    """Refuse an introduction that says more than who the site is and how much data it has.

    Raises:
        ExchangeError: Naming the fields that may not leave, never their values.
    """
    problems = []
    if not _SITE_ID.fullmatch(card.site_id):
        problems.append("site-id is no short identifier (letters, digits, '.', '_', '-')")
    if len(card.label_names) > MAX_LABELS or not all(map(_LABEL_NAME.fullmatch, card.label_names)):
        problems.append(f"label-names are not at most {MAX_LABELS} short names")
    if not all(map(_is_count, (card.num_cases, card.num_test_cases))):
        problems.append("num-cases or num-test-cases is no count")
    if card.style_block is not None:
        limit = int(math.prod(config.grid.patch_size) * MAX_STYLE_SHARE)
        if not (config.exchange.allow_style_blocks and site_allows_style):
            problems.append("style-block: study and site must both allow it")
        if not card.style_block.is_floating_point() or not bool(torch.isfinite(card.style_block).all()):
            problems.append("style-block has values that are not finite")
        if card.style_block.numel() > limit:
            problems.append(f"style-block has {card.style_block.numel()} values, allowed are {limit}")
    if problems:
        msg = f"not allowed to leave the site: {'; '.join(problems)}"
        raise ExchangeError(msg)


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:5])
    return f"[{shown}, ... {len(names)} in all]" if len(names) > 5 else f"[{shown}]"


def _phase_of(config: StudyConfig, order: WorkOrder) -> Phase:
    for phase in build_method(config, num_targets=len(order.domains) - 1).phases:
        if phase.label == order.phase:
            return phase
    msg = f"order refused: method {config.method!r} has no such phase; were server and site given the same study?"
    raise ExchangeError(msg)
