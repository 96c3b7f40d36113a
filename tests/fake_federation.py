"""Builders for tests: a federation of one source and two targets with models of three numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.orders import SiteCard, WorkOrder
from diffuse_uda.exchange.plan import forms_of
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import ModelName, Scalar, SiteRole, StateDict
from tests import arithmetic_tasks

SOURCE = SiteCard(site_id="source", role=SiteRole.SOURCE, num_cases=4, label_names=arithmetic_tasks.LABELS)
TARGET_A = SiteCard(site_id="target-a", role=SiteRole.TARGET, num_cases=1, num_test_cases=5)
TARGET_B = SiteCard(site_id="target-b", role=SiteRole.TARGET, num_cases=3, num_test_cases=5)


BUDGETS: dict[str, Scalar] = {
    f"{phase}.{key}": value
    for phase in ("warm-up", "adapt", "recolour", "diffuse", "refine")
    for key, value in {"num-rounds": 1, "source-weight": 0.5, "learning-rate": 10.0}.items()
}
"""With this learning rate the server lets weights move by whole tens, as those of `arithmetic_tasks` do."""


def tiny_weights() -> StateDict:
    return {"weight": torch.zeros(2), "scale": torch.tensor(0.0), "count": torch.tensor(0)}


def tiny_initial_weights(_config: StudyConfig, _name: ModelName, _num_classes: int) -> StateDict:
    return tiny_weights()


def node_configs(folder: Path) -> list[dict[str, Scalar]]:
    roles = {"target-b": "target", "source": "source", "target-a": "target"}
    return [
        {"site-id": name, "role": role, "data-dir": str(folder / name), "workspace": str(folder / "work" / name)}
        for name, role in roles.items()
    ]


def run_config(folder: Path, **overrides: Scalar) -> dict[str, Scalar]:
    """One round a phase, half of every average to the source, whatever the presets say."""
    return {"method": "asc", "num-passes": 1, **BUDGETS, "run-dir": str(folder / "run"), **overrides}


def order_for(task: Task, phase: str, *, row: str = "") -> WorkOrder:
    return WorkOrder(
        task=task,
        phase=phase,
        server_round=1,
        num_rounds=1,
        pass_index=0,
        row=row,
        domains=("source", "target-a", "target-b"),
        label_names=arithmetic_tasks.LABELS,
    )


def use_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace training by arithmetic, and the networks by three numbers."""
    monkeypatch.setattr("client.client_app.tasks", arithmetic_tasks)
    monkeypatch.setattr("server.server_app.initial_weights", tiny_initial_weights)
    monkeypatch.setattr("diffuse_uda.exchange.plan.model_forms", lambda *_: forms_of(tiny_weights()))
