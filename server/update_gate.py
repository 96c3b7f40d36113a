"""The gate every update passes before it may touch the model: one by one as they come, then against each other.

On arrival: form, finiteness, the claimed number of cases, and how far honest work can have moved anything. When the
round is complete: copies, updates out of line with history and company, directions against everybody else's. What is
decided then depends on who replied, never on who replied first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffuse_uda.algorithms.domain_rows import DOMAIN_TABLES
from diffuse_uda.algorithms.outliers import Amounts, GateLimits, against_the_others, deviations, level
from diffuse_uda.algorithms.update_change import Reach, UpdateChange, is_untrained, largest_move, measure_change
from diffuse_uda.algorithms.update_checks import Update, check_update, require_sane_count
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import AggregationError
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.training.fitting import BETAS
from diffuse_uda.training.schedule import RoundPlan
from diffuse_uda.types import SiteRole
from server.accepted import Accepted, AcceptedUpdates
from server.workflow import Step, fit_config

DESCRIBED_TABLES = tuple(name for name in DOMAIN_TABLES if name.startswith("class_table."))
"""Domain tables that every site sets in closed form; no optimiser moves them."""

UNTRAINED = "the update is the model that was sent: nothing was trained"


@dataclass(kw_only=True)
class UpdateGate:
    """What is known about honest updates in this run."""

    config: StudyConfig
    sites: tuple[SiteCard, ...]
    """In the order of their domains."""
    folder: Path
    """Of the run: the history of accepted updates is there."""
    limits: GateLimits = field(default_factory=GateLimits)

    def __post_init__(self) -> None:
        """Open the history."""
        self._accepted = AcceptedUpdates(folder=self.folder)

    def examine(
        self, step: Step, update: Update, sent: Mapping[str, Tensor], forms: Mapping[str, Tensor]
    ) -> UpdateChange:
        """Judge one update by itself; the message of the error names site, tensor and reason.

        Args:
            step: The round.
            update: What came; in memory or on disk.
            sent: The model that the site was asked to train; one tensor at a time is read.
            forms: Names, shapes and dtypes of the same.

        Raises:
            AggregationError: If it must not be averaged.
        """
        domain, card = next((index, card) for index, card in enumerate(self.sites) if card.site_id == update.site_id)
        require_claim(update, card)
        check_update(update, forms)
        plan = self._plan(step, card.role)
        trains = step.phase.name is not PhaseName.DESCRIBE
        reach = Reach(
            trained=largest_move(_sum_of_rates(plan), BETAS) if trains else 0.0,
            num_steps=plan.num_local_steps if trains else 0,
            domain=domain,
            domain_tables=DOMAIN_TABLES,
            described=DESCRIBED_TABLES,
        )
        return measure_change(update.site_id, update.weights, sent, reach)

    def outliers(
        self,
        step: Step,
        changes: Mapping[str, UpdateChange],
        updates: Mapping[str, Update],
        sent: Mapping[str, Tensor],
    ) -> dict[str, str]:
        """Judge the updates of a complete round against history and each other.

        Args:
            step: The round.
            changes: What `examine` measured, by site.
            updates: The updates themselves; read tensor by tensor where values have to be compared.
            sent: The model that was sent.

        Returns:
            Reasons by site, for the sites to refuse.
        """
        refused = self._copies(changes, updates)
        kept = {site_id: change for site_id, change in changes.items() if site_id not in refused}
        if any(change.size < self.limits.min_values for change in kept.values()):
            return refused
        refused |= self._out_of_line(step, kept)
        moved = {
            card.site_id: changes[card.site_id].norm
            for card in self.sites
            if card.role is SiteRole.TARGET and card.site_id in kept and card.site_id not in refused
        }
        moved = {site_id: norm for site_id, norm in moved.items() if norm > 0.0}
        if len(moved) > self.limits.min_voices:
            along, length = _directions({site_id: updates[site_id] for site_id in moved}, moved, sent)
            for site_id, cosine in against_the_others(along, length, self.limits).items():
                refused[site_id] = (
                    f"site {site_id!r}: the update points against those of the {len(moved) - 1} other targets, which "
                    f"agree (cosine {cosine:.2f}, wanted at least {self.limits.cosine:g})"
                )
        return refused

    def remember(self, step: Step, changes: Mapping[str, UpdateChange]) -> None:
        """Keep what the accepted updates of a round looked like.

        Raises:
            StorageError: If the disk does not take it in time.
        """
        used = [card for card in self.sites if card.site_id in changes]
        self._accepted.add([self._described(step, card, changes[card.site_id]) for card in used])

    def _plan(self, step: Step, role: SiteRole) -> RoundPlan:
        fit = fit_config(self.config, step.phase)
        share = fit.target_step_fraction if role is SiteRole.TARGET else 1.0
        return RoundPlan.of(fit, step.server_round, share=share)

    def _copies(self, changes: Mapping[str, UpdateChange], updates: Mapping[str, Update]) -> dict[str, str]:
        """Refuse every copy but the first in the order of the domains: nobody can say who copied."""
        refused: dict[str, str] = {}
        ordered = [card.site_id for card in self.sites if card.site_id in changes]
        for index, site_id in enumerate(ordered):
            for other in ordered[:index]:
                is_alike = changes[site_id] == changes[other] and not is_untrained(changes[site_id])
                if is_alike and _same_values(updates[site_id], updates[other]):
                    refused[site_id] = (
                        f"site {site_id!r}: this is a copy of what site {other!r} sent, value by value; do both "
                        "sites work in one folder, or with one set of scans?"
                    )
                    break
        return refused

    def _out_of_line(self, step: Step, changes: Mapping[str, UpdateChange]) -> dict[str, str]:
        """Compare every update, and every tensor of it, with its site's past and with the other sites."""
        present = [card for card in self.sites if card.site_id in changes]
        if not present:
            return {}
        first = changes[present[0].site_id]
        columns = _Columns(names=tuple(first.tensors), even=_even_shares(first))
        now = {card.site_id: self._described(step, card, changes[card.site_id]) for card in present}
        past: dict[str, list[Amounts]] = {}
        for update in self._accepted.before(step.phase.label, step.server_round):
            past.setdefault(update.site_id, []).append(columns.levels(update))
        levels = {
            site_id: level(
                np.stack([*past.get(site_id, []), *([columns.levels(now[site_id])] if site_id in now else [])])
            )
            for site_id in past.keys() | now.keys()
        }
        refused = {}
        for card in present:
            is_target = card.role is SiteRole.TARGET
            others = [levels[site_id] for site_id in sorted(levels) if is_target and site_id != card.site_id]
            found = deviations(
                columns.amounts(now[card.site_id]),
                columns.stacked(past.get(card.site_id, [])),
                columns.stacked(others),
                spreads=np.array([self.limits.update_spread] + [self.limits.tensor_spread] * len(columns.names)),
                largest_spread=self.limits.largest_spread,
            )
            # The whole update first, then the tensor that is farthest out.
            worst = 0 if found.z[0] > self.limits.z else int(found.z.argmax())
            if found.z[worst] > self.limits.z:
                what = "the update" if worst == 0 else f"tensor {columns.names[worst - 1]!r}"
                refused[card.site_id] = (
                    f"site {card.site_id!r}: {what} moved {found.ratios[worst]:.3g} times as far as in its own earlier "
                    f"rounds and at the other sites (robust z-score {found.z[worst]:.1f}, wanted at most "
                    f"{self.limits.z:g})"
                )
        return refused

    def _described(self, step: Step, card: SiteCard, change: UpdateChange) -> Accepted:
        rates = _sum_of_rates(self._plan(step, card.role))
        return Accepted(
            phase=step.phase.label,
            server_round=step.server_round,
            site_id=card.site_id,
            norm=change.norm / rates,
            tensors={name: tensor.norm / rates for name, tensor in change.tensors.items()},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    """Updates as rows of amounts: the whole one first, then every tensor."""

    names: tuple[str, ...]
    even: Amounts
    """For every tensor, its norm as a share of the whole one's if all values moved alike."""

    def amounts(self, update: Accepted) -> Amounts:
        """What an update is judged by."""
        return np.array([update.norm, *(update.tensors.get(name, 0.0) for name in self.names)])

    def levels(self, update: Accepted) -> Amounts:
        """What others are judged against: a tensor that hardly moved until now may move as the average value does."""
        floors: Amounts = np.concatenate([[0.0], update.norm * self.even])
        return np.fmax(self.amounts(update), floors)

    def stacked(self, rows: Sequence[Amounts]) -> Amounts:
        """Rows below each other; a table of no rows where there are none."""
        return np.stack(rows) if rows else np.empty((0, 1 + len(self.names)))


def _even_shares(change: UpdateChange) -> Amounts:
    return np.array([math.sqrt(tensor.size / change.size) for tensor in change.tensors.values()])


def require_claim(update: Update, card: SiteCard) -> None:
    """Refuse a reply that claims more cases than its site has introduced itself with.

    Raises:
        AggregationError: If it does, or if the number is not sane.
    """
    require_sane_count(update)
    if update.num_examples > card.num_cases:
        msg = (
            f"site {update.site_id!r}: the reply claims {update.num_examples:,} cases, the site introduced itself "
            f"with {card.num_cases:,}"
        )
        raise AggregationError(msg)


def _sum_of_rates(plan: RoundPlan) -> float:
    return sum(plan.rate(step) for step in range(plan.num_local_steps))


def _same_values(one: Update, other: Update) -> bool:
    return all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@torch.no_grad()
def _directions(
    updates: Mapping[str, Update], norms: Mapping[str, float], sent: Mapping[str, Tensor]
) -> tuple[dict[str, float], float]:
    """Inner products of every site's direction with the sum of all, and the squared norm of that sum.

    Tensor by tensor: the sum's, the sent one and that of one site are in memory, however many sites there are.
    """
    along, length = dict.fromkeys(updates, 0.0), 0.0
    for name in sent:
        base = sent[name]
        if not base.is_floating_point() or name.endswith(DESCRIBED_TABLES):
            continue
        total = torch.zeros(base.numel(), dtype=torch.float64)
        for site_id, update in updates.items():
            total.add_((update.weights[name].double() - base).flatten(), alpha=1.0 / norms[site_id])
        for site_id, update in updates.items():
            change = (update.weights[name].double() - base).flatten()
            along[site_id] += float(change @ total) / norms[site_id]
        length += float(total @ total)
    return along, length
