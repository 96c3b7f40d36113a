"""A stand-in for `client.tasks` whose work is arithmetic, so that a whole federation can be checked by hand.

Training adds a number of the site's own to every weight; counters go up by one. With shares 1/2 for the source and
1/8 and 3/8 for the targets (1 and 3 cases), a round in which everybody trains adds 1/2 + 10/8 + 60/8 = 9.25.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from client.site import Site
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import SiteCard, SiteReply, WorkOrder
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import SiteRole, StateDict

NUM_CASES = {"source": 4, "target-a": 1, "target-b": 3}
SHIFT = {"source": 1.0, "target-a": 10.0, "target-b": 20.0}
ROUND_OF_ALL = 9.25
LABELS = ("background", "ball")
LOCAL_TASKS = {Task.PSEUDO_LABEL, Task.KEEP_TABLE, Task.SYNTHESISE}


def introduce(site: Site, config: StudyConfig) -> SiteCard:
    is_source = site.role is SiteRole.SOURCE
    return SiteCard(
        site_id=site.site_id,
        role=site.role,
        num_cases=NUM_CASES[site.site_id],
        label_names=LABELS if is_source else (),
        num_test_cases=0 if is_source else 5,
    )


def run_task(site: Site, config: StudyConfig, order: WorkOrder, weights: StateDict) -> SiteReply:
    reply = SiteReply(num_examples=NUM_CASES[site.site_id], metrics={"seconds": 0.0})
    if order.task in LOCAL_TASKS:
        return replace(reply, metrics={"pairs": 2.0})
    if order.task is Task.EVALUATE:
        return replace(reply, num_examples=5, metrics={"dice": 0.5, "dice/ball": 0.5})
    if order.task is Task.DESCRIBE:
        return replace(reply, weights=weights)
    return replace(reply, weights={name: _trained(tensor, SHIFT[site.site_id]) for name, tensor in weights.items()})


def _trained(tensor: torch.Tensor, shift: float) -> torch.Tensor:
    return tensor + shift if tensor.is_floating_point() else tensor + 1
