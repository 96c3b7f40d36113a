"""Scalars of a run for MLflow, only where the run-config names a tracking address and MLflow is installed.

MLflow keeps what it was given, so every round is logged once: a run that goes on after a crash leaves out the rounds
that MLflow has. A round that is done again has the same weights, so nothing is lost by that.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

from diffuse_uda.errors import ConfigError
from server.history import Event, RoundFinished, RoundRecord, RoundSaved, StudyStarted
from server.tensorboard_events import committed_rounds, scalars_of

logger = logging.getLogger(__name__)

RUN_TAG = "diffuse-uda.run"
EVERY_ROUND = "federation/exchange/seconds"
"""A scalar that every round has: its steps say which rounds MLflow knows."""


class MlflowEvents:
    """A listener that logs committed rounds. A run never ends because of it: what fails is logged, once."""

    def __init__(self, run_dir: Path, address: str) -> None:
        """Log to a tracking address, such as `file:runs/mlflow` or that of a server within the hub's walls.

        Raises:
            ConfigError: If MLflow is not installed.
        """
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
            self._entities: Any = importlib.import_module("mlflow.entities")
        except ImportError as error:
            msg = f"run-config mlflow is {address!r}, but MLflow is not installed; install it, or leave the key empty"
            raise ConfigError(msg) from error
        self._run_dir, self._address = run_dir, address
        self._client: Any = None
        self._run_id = ""
        self._number = self._known = 0
        self._finished: RoundRecord | None = None

    def __call__(self, event: Event) -> None:
        """Hear one event."""
        try:
            match event:
                case StudyStarted():
                    self._begin(event)
                case RoundFinished(record=record):
                    self._finished = record
                case RoundSaved() if self._client is not None and self._finished is not None:
                    self._number += 1
                    self._log(self._number, self._finished)
                case _:
                    pass
        except Exception as error:  # noqa: BLE001 - a chart is worth no run
            logger.warning("no more events for MLflow: %s: %s", type(error).__name__, error)
            self._client = None

    def _begin(self, event: StudyStarted) -> None:
        client = self._mlflow.MlflowClient(tracking_uri=self._address)
        experiment = client.get_experiment_by_name(event.name)
        experiment_id = client.create_experiment(event.name) if experiment is None else experiment.experiment_id
        found = client.search_runs([experiment_id], filter_string=f"tags.`{RUN_TAG}` = '{event.run}'")
        if found:
            self._run_id = found[0].info.run_id
            steps = [metric.step for metric in client.get_metric_history(self._run_id, EVERY_ROUND)]
            self._known = max(steps, default=0)
        else:
            tags = {RUN_TAG: event.run, "method": event.method, "sites": ", ".join(event.site_ids)}
            self._run_id = client.create_run(experiment_id, run_name=event.run, tags=tags).info.run_id
        self._client = client
        for number, (_, record) in enumerate(committed_rounds(self._run_dir), start=1):
            self._number = number
            self._log(number, record)

    def _log(self, number: int, record: RoundRecord) -> None:
        if number <= self._known:
            return
        metrics = [
            self._entities.Metric(f"{place}/{tag}", value, 0, number) for place, tag, value in scalars_of(record)
        ]
        self._client.log_batch(self._run_id, metrics=metrics)
        self._known = number
