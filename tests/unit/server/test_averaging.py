"""Shares, rule and owned rows of one average, worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from diffuse_uda.config import AdaptConfig, FederationConfig, StudyConfig
from diffuse_uda.errors import AggregationError, ConfigError
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.types import AverageRule, SiteRole, StateDict
from server.averaging import SpooledUpdate, average_round
from server.spool import SpooledWeights

SITES = (
    SiteCard(site_id="source", role=SiteRole.SOURCE, num_cases=4),
    *(SiteCard(site_id=f"t{index}", role=SiteRole.TARGET, num_cases=10**index) for index in (1, 2, 5)),
)
SENT: StateDict = {"w": torch.zeros(2), "class_table.rows": torch.full((5, 1), 100.0), "count": torch.tensor(0)}


def _config(rule: AverageRule, **federation: int) -> StudyConfig:
    return StudyConfig(
        adapt=AdaptConfig(source_weight=0.5),
        federation=FederationConfig(rule=rule, min_targets=3, **federation),
    )


@pytest.fixture
def spool() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _average(
    config: StudyConfig, folder: Path, spool: ExitStack, **values: float
) -> tuple[StateDict, dict[str, float]]:
    """Every site sends its value everywhere, and the value in its own row."""
    sent = SpooledWeights(SENT, folder)
    spool.callback(sent.close)
    updates = {}
    for domain, card in enumerate(SITES):
        if card.site_id in values:
            weights = {name: tensor.clone() for name, tensor in SENT.items()}
            weights["w"] += values[card.site_id]
            weights["class_table.rows"][domain] = values[card.site_id]
            weights["count"] += domain
            on_disk = SpooledWeights(weights, folder)
            spool.callback(on_disk.close)
            updates[card.site_id] = SpooledUpdate(site_id=card.site_id, num_examples=1, weights=on_disk)
    phase = next(phase for phase in build_method(config).phases if phase.name is PhaseName.ADAPT)
    return average_round(config, phase, SITES, updates, sent)


ALL = {"source": 8.0, "t1": 1.0, "t2": 2.0, "t5": 1000.0}


def test_a_site_counts_as_no_more_cases_than_are_believed(tmp_path: Path, spool: ExitStack) -> None:
    # 10, 100 and 100,000 cases; at most 90 of them are believed: 10, 90 and 90 of 190.
    _, shares = _average(_config(AverageRule.MEAN, max_cases=90), tmp_path, spool, **ALL)
    assert shares == {
        "source": 0.5,
        "t1": pytest.approx(5 / 190),
        "t2": pytest.approx(45 / 190),
        "t5": pytest.approx(45 / 190),
    }


def test_the_median_of_the_targets_shares_with_the_source_and_ignores_cases(tmp_path: Path, spool: ExitStack) -> None:
    average, shares = _average(_config(AverageRule.MEDIAN), tmp_path, spool, **ALL)
    assert average["w"].tolist() == [5.0, 5.0]  # 8 / 2 + 2 / 2
    assert shares == {"source": 0.5, "t1": pytest.approx(1 / 6), "t2": pytest.approx(1 / 6), "t5": pytest.approx(1 / 6)}
    assert average["count"].item() == 3


def test_by_any_rule_a_row_is_its_own_site_s_and_an_absent_site_keeps_its_old_one(
    tmp_path: Path, spool: ExitStack
) -> None:
    here = {name: value for name, value in ALL.items() if name != "t2"}
    for rule in AverageRule:
        average, _ = _average(_config(rule), tmp_path, spool, **here)
        torch.testing.assert_close(
            average["class_table.rows"], torch.tensor([[8.0], [1.0], [100.0], [1000.0], [100.0]]), rtol=1e-3, atol=1e-2
        )


def test_the_trimmed_mean_of_three_is_their_middle_one(tmp_path: Path, spool: ExitStack) -> None:
    average, _ = _average(_config(AverageRule.TRIMMED_MEAN), tmp_path, spool, **ALL)
    assert average["w"].tolist() == [5.0, 5.0]


@pytest.mark.parametrize("rule", list(AverageRule))
def test_without_the_source_there_is_no_average(rule: AverageRule, tmp_path: Path, spool: ExitStack) -> None:
    with pytest.raises(AggregationError, match="none replied"):
        _average(_config(rule), tmp_path, spool, t1=1.0, t2=2.0, t5=3.0)


def test_a_robust_rule_for_fewer_than_three_targets_is_refused_by_the_configuration() -> None:
    with pytest.raises(
        ConfigError, match=r"federation.rule = median needs federation.min-targets of at least 3, found 2"
    ):
        StudyConfig.from_flat({"federation.rule": "median", "federation.min-targets": 2})
    assert StudyConfig.from_flat({"federation.rule": "median", "federation.min-targets": 3}).federation.rule == "median"
