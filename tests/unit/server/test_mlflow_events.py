"""MLflow as a listener, with a stand-in for the package: it is never a dependency."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.run_options import read_run_config
from server.history import RoundFinished, RoundSaved
from server.journal import JOURNAL_FILE, Happening, Journal
from server.mlflow_events import RUN_TAG, MlflowEvents
from tests.unit.server.test_tensorboard_events import STARTED, _commit, _round


class _Store:
    """What an MLflow server would keep."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, str]] = {}
        self.metrics: list[SimpleNamespace] = []
        self.addresses: list[str] = []
        self.is_broken = False

    def client(self, tracking_uri: str) -> _Store:
        self.addresses.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments)))

    def create_run(self, experiment_id: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        self.runs[run_name] = tags
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def search_runs(self, experiment_ids: Sequence[str], filter_string: str) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=run))
            for run, tags in self.runs.items()
            if filter_string == f"tags.`{RUN_TAG}` = '{tags[RUN_TAG]}'"
        ]

    def get_metric_history(self, run_id: str, key: str) -> list[SimpleNamespace]:
        return [metric for metric in self.metrics if metric.key == key]

    def log_batch(self, run_id: str, metrics: Sequence[SimpleNamespace]) -> None:
        if self.is_broken:
            raise ConnectionError
        self.metrics += metrics


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> _Store:
    kept = _Store()
    package: Any = ModuleType("mlflow")
    entities: Any = ModuleType("mlflow.entities")
    package.MlflowClient = kept.client
    entities.Metric = lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step)
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return kept


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    begun = Journal(tmp_path / JOURNAL_FILE)
    begun.append(Happening.STARTED, {"run": "ab12"})
    return begun


def _hear(events: MlflowEvents, journal: Journal, number: int) -> None:
    events(RoundFinished(record=_round(number)))
    _commit(journal, number)
    events(RoundSaved(phase="adapt", server_round=number, num_rounds=9, checkpoint="segmenter"))


def _losses(store: _Store) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in store.metrics if metric.key == "site-leeds/loss/adapt"]


def test_rounds_are_logged_under_the_study_and_the_run(tmp_path: Path, store: _Store, journal: Journal) -> None:
    events = MlflowEvents(tmp_path, "file:somewhere")
    events(STARTED)
    for number in (1, 2):
        _hear(events, journal, number)
    assert store.addresses == ["file:somewhere"]
    assert (list(store.experiments), list(store.runs)) == (["brain"], ["ab12"])
    assert _losses(store) == [(1, 1.0), (2, 0.5)]


def test_a_run_that_goes_on_logs_what_is_missing_and_nothing_twice(
    tmp_path: Path, store: _Store, journal: Journal
) -> None:
    events = MlflowEvents(tmp_path, "file:somewhere")
    events(STARTED)
    _hear(events, journal, 1)
    _commit(journal, 2)  # the crash came after the commit, before MLflow knew
    journal.append(Happening.RESUMED, {"number": 2, "damaged": []})
    again = MlflowEvents(tmp_path, "file:somewhere")
    again(STARTED)
    _hear(again, journal, 3)
    assert [step for step, _ in _losses(store)] == [1, 2, 3]
    assert len(store.runs) == 1


def test_a_server_that_does_not_answer_ends_no_run(tmp_path: Path, store: _Store, journal: Journal) -> None:
    events = MlflowEvents(tmp_path, "file:somewhere")
    events(STARTED)
    store.is_broken = True
    _hear(events, journal, 1)
    _hear(events, journal, 2)
    assert store.metrics == []


def test_without_the_package_the_key_is_refused_before_round_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match="not installed"):
        MlflowEvents(tmp_path, "file:somewhere")


def test_the_key_is_the_run_s_and_no_part_of_the_study() -> None:
    config, options = read_run_config({"mlflow": "file:somewhere"})
    assert options.mlflow == "file:somewhere"
    assert not any("mlflow" in key for key in config.to_flat())
