"""The server's memory does not grow with the number of sites."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulations.bench_aggregation import AggregationMemory, measure_aggregation

MIB = 2**20
MEASURED = AggregationMemory(peak_bytes=210 * MIB, model_bytes=100 * MIB, tensor_bytes=10 * MIB, num_sites=4)


def test_the_bound_is_two_models_and_one_tensor_with_two_percent_for_the_allocator() -> None:
    assert MEASURED.is_within_bound
    assert replace(MEASURED, peak_bytes=214 * MIB).is_within_bound
    assert not replace(MEASURED, peak_bytes=215 * MIB).is_within_bound
    assert str(MEASURED) == "peak 2.10 models with 4 sites (model 100 MiB, one tensor 0.10 models)"


@pytest.mark.slow
def test_a_round_of_four_sites_needs_two_models_and_one_tensor_at_most() -> None:
    assert measure_aggregation().is_within_bound
