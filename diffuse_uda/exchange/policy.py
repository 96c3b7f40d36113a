"""What may leave a site: an allow-list. Whatever is not on it stays, and the site says the name of what it kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange.card_policy import REFUSED, is_count
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.exchange.plan import TensorForm, forms_of, phase_of
from diffuse_uda.exchange.site_policy import NOTHING_NARROWED, SitePolicy
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import Exchange
from diffuse_uda.models import build_model
from diffuse_uda.types import SiteRole, StateDict

WITHHELD = frozenset({"withheld-rows", "withheld-scalars", "withheld-scores"})
"""Scalars that say how much the gate itself kept back."""

COUNTS_AND_LOSSES = WITHHELD | frozenset(
    {"confidence", "learning-rate", "loss", "num-local-steps", "pairs", "seconds"}
    | {f"loss/{term}" for term in ("consistency", "diffusion", "supervised", "synthetic")}
)
"""Scalars about the work itself, by full name."""

SCORES = frozenset({"assd-mm", "dice", "hd95-mm", "nsd", "undefined"})
"""Scores of cases: `dice` is the mean over labels, `dice/<label>` belongs to a label of the study."""

ABOUT_CASES = SCORES | {"confidence"}
"""Means over cases: over too few of them they are about single ones."""

STATISTICS = tuple(f"class_table.{name}" for name in ("rows", "spreads", "background", "volumes"))
"""Endings of the names of tensors that hold statistics of a site's scans, which no training moves."""

MAX_SCALARS = 2048

SCALAR_DIGITS = 4
"""Significant digits of every scalar that leaves: more tell nobody how a round went, and would tell cases apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressPolicy:
    """One reply's allow-list, made before the work begins from what the site received."""

    tensors: Mapping[str, TensorForm] = field(default_factory=dict)
    """Tensors of the model that came in, if the phase exchanges weights; empty otherwise."""
    statistics: Mapping[str, Tensor] = field(default_factory=dict)
    """Those of them that hold statistics, as they came in: what goes back over too few cases."""
    label_names: tuple[str, ...] = ()
    """Labels that scores may be about."""
    max_message_bytes: int
    max_run_bytes: int
    max_scalars: int = MAX_SCALARS
    min_cases_for_statistics: int
    """Statistics over fewer cases than this tell too much about single ones."""
    site: SitePolicy = NOTHING_NARROWED
    """The site's own lists of scalars and dtypes; its numbers are in the fields above already."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights that will want to leave."""
        return sum(math.prod(form.shape) * form.dtype.itemsize for form in self.tensors.values())

    def check(self, reply: SiteReply) -> None:
        """Refuse a reply that holds anything beyond the list.

        Raises:
            RefusalError: Naming the keys, never the values. It is meant for the site's own log; a key may be a
                patient's name, so it has to go through `sealed` as every error does.
        """
        broken = [*self._tensor_problems(reply.weights), *self._scalar_problems(reply)]
        broken += [("small-group", words) for words in self._small_groups(reply)]
        if not is_count(reply.num_examples):
            broken.append(("no-count", "num-examples, which is no count"))
        if broken:
            raise RefusalError(REFUSED, broken)

    def check_bytes(self, num_bytes: int, *, sent_before: int) -> None:
        """Refuse a message that is too large, or too much on top of what left before.

        Args:
            num_bytes: Size of the encoded message.
            sent_before: Bytes that this site has sent in this run.

        Raises:
            RefusalError: With the sizes.
        """
        broken = []
        if num_bytes > self.max_message_bytes:
            broken.append(("message-bytes", f"a message of {num_bytes} bytes, allowed are {self.max_message_bytes}"))
        if sent_before + num_bytes > self.max_run_bytes:
            words = f"{num_bytes} bytes on top of {sent_before} of this run, allowed are {self.max_run_bytes}"
            broken.append(("run-bytes", words))
        if broken:
            raise RefusalError(REFUSED, broken)

    def withhold(self, reply: SiteReply) -> SiteReply:
        """Leave out what is on the study's list but not to leave here and now, and say how much that was.

        Means over fewer than `min_cases_for_statistics` cases, scalars that the site's own list does not have, rows of
        the class table over too few cases, which go back as they came, and digits of scalars beyond `SCALAR_DIGITS`.
        """
        metrics, weights, withheld = {}, reply.weights, dict.fromkeys(sorted(WITHHELD), 0)
        is_small = is_count(reply.num_examples) and reply.num_examples < self.min_cases_for_statistics
        for key, value in reply.metrics.items():
            if is_small and self._is_about_cases(key):
                withheld["withheld-scores"] += 1
            elif self._is_listed(key) and key not in WITHHELD and not self.site.allows_scalar(key):
                withheld["withheld-scalars"] += 1
            else:
                metrics[key] = rounded(value) if _is_finite_number(value) else value
        if is_small and weights is not None and self.statistics:
            # Said whether or not the task has touched them: whoever relies on the rows has to know.
            withheld["withheld-rows"] = len(self.statistics)
            weights = {**weights, **{name: self.statistics[name].clone() for name in self._changed_statistics(weights)}}
        counted = {key: float(count) for key, count in withheld.items() if count}
        return replace(reply, metrics=metrics | counted, weights=weights)

    def narrowed(self, config: StudyConfig) -> StudyConfig:
        """The study as a task of this site reads it: groups are as large as both of them want."""
        wanted = {"min_cases_for_statistics": self.min_cases_for_statistics}
        return config.model_copy(update={"exchange": config.exchange.model_copy(update=wanted)})

    def _changed_statistics(self, weights: StateDict) -> list[str]:
        return [
            name
            for name, received in self.statistics.items()
            if isinstance(tensor := weights.get(name), Tensor) and not torch.equal(tensor, received)
        ]

    def _small_groups(self, reply: SiteReply) -> list[str]:
        if not is_count(reply.num_examples) or reply.num_examples >= self.min_cases_for_statistics:
            return []
        kinds = {
            "scores": [key for key in reply.metrics if self._is_about_cases(key)],
            "rows": self._changed_statistics(reply.weights or {}),
        }
        few = f"over fewer than {self.min_cases_for_statistics} cases"
        return [f"{kind} {_listed(names)} {few}" for kind, names in kinds.items() if names]

    def _tensor_problems(self, weights: StateDict | None) -> Iterator[tuple[str, str]]:
        weights = weights if weights is not None else {}
        if foreign := weights.keys() - self.tensors.keys():
            yield "foreign-tensor", f"tensors {_listed(foreign)}, which are not part of the received model"
        if weights and (missing := self.tensors.keys() - weights.keys()):
            yield "missing-tensor", f"a model without {_listed(missing)}"
        for name, tensor in weights.items():
            wanted = self.tensors.get(name)
            if wanted is None:
                continue
            if not isinstance(tensor, Tensor) or (tuple(tensor.shape), tensor.dtype) != (wanted.shape, wanted.dtype):
                yield "tensor-form", f"{name!r} in another shape or dtype than {wanted.shape}, {wanted.dtype}"
            elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                yield "not-finite", f"{name!r} with values that are not finite: training diverged"
            elif self.site.dtypes is not None and _dtype_name(tensor) not in self.site.dtypes:
                yield "site-dtype", f"{name!r} of dtype {_dtype_name(tensor)}, which this site's policy does not list"
        size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values() if isinstance(tensor, Tensor))
        if size > self.max_message_bytes:
            yield "message-bytes", f"weights of {size} bytes, allowed are {self.max_message_bytes}"

    def _scalar_problems(self, reply: SiteReply) -> Iterator[tuple[str, str]]:
        if foreign := [key for key in reply.metrics if not self._is_listed(key)]:
            yield "foreign-scalar", f"scalars {_listed(foreign)}, which are not on the list"
        elif kept := [key for key in reply.metrics if key not in WITHHELD and not self.site.allows_scalar(key)]:
            yield "site-scalar", f"scalars {_listed(kept)}, which this site's policy does not list"
        if wrong := [key for key, value in reply.metrics.items() if not _is_finite_number(value)]:
            yield "no-number", f"scalars {_listed(wrong)}, which are no finite numbers"
        elif fine := [key for key, value in reply.metrics.items() if value != rounded(value)]:
            yield "too-many-digits", f"scalars {_listed(fine)} of more than {SCALAR_DIGITS} significant digits"
        if len(reply.metrics) > self.max_scalars:
            yield "too-many-scalars", f"{len(reply.metrics)} scalars, allowed are {self.max_scalars}"

    def _is_listed(self, key: str) -> bool:
        return key in COUNTS_AND_LOSSES or self._is_score(key)

    def _is_score(self, key: str) -> bool:
        name, _, label = key.partition("/")
        return name in SCORES and (key == name or label in self.label_names)

    def _is_about_cases(self, key: str) -> bool:
        return self._is_listed(key) and key.partition("/")[0] in ABOUT_CASES


def reply_policy(
    config: StudyConfig,
    role: SiteRole,
    order: WorkOrder,
    received: StateDict,
    site: SitePolicy = NOTHING_NARROWED,
) -> EgressPolicy:
    """Make the allow-list for one order, and refuse an order that the study's method or the site does not contain.

    The site reads the method itself: a server can neither ask for weights where the method exchanges none, nor have a
    task done by a site of the wrong role.

    Raises:
        RefusalError: If the method has no such phase, or gives this role another task in it, or if the site's own
            policy has no room for the task or the model.
    """
    phase = phase_of(config, order)
    broken = []
    if phase.tasks.get(role) is not order.task:
        broken.append(("wrong-task", f"in phase {phase.label!r} a {role.value} is not asked to {order.task.value!r}"))
    if site.tasks is not None and order.task not in site.tasks:
        broken.append(("site-task", f"this site's policy does not list the task {order.task.value!r}"))
    exchanges = phase.exchange is Exchange.WEIGHTS
    if exchanges and site.models is not None and phase.model not in site.models:
        broken.append(("site-model", f"this site's policy lets no weights of the {phase.model.value} out"))
    if broken:
        msg = "order refused"
        raise RefusalError(msg, broken)
    forms = forms_of(received) if exchanges else {}
    return EgressPolicy(
        tensors=forms,
        statistics={name: received[name] for name in forms if name.endswith(STATISTICS)},
        label_names=order.label_names,
        max_message_bytes=_least(config.exchange.max_message_bytes, site.max_message_bytes),
        max_run_bytes=_least(config.exchange.max_run_bytes, site.max_run_bytes),
        max_scalars=_least(MAX_SCALARS, site.max_scalars),
        min_cases_for_statistics=max(config.exchange.min_cases_for_statistics, site.min_cases_for_statistics or 0),
        site=site,
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


def rounded(value: float) -> float:
    """A finite number to `SCALAR_DIGITS` significant digits."""
    return float(f"{value:.{SCALAR_DIGITS - 1}e}")


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:5])
    return f"[{shown}, ... {len(names)} in all]" if len(names) > 5 else f"[{shown}]"


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _least(study: int, site: int | None) -> int:
    return study if site is None else min(study, site)
