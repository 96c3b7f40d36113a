from diffuse_uda.reporting.history_view import RoundRecord
from diffuse_uda.reporting.study_cost import RowCost, cost_entries, costs_by_row, timing_entries, total_exchange


def test_a_row_costs_everything_before_its_evaluation_but_no_evaluation(history: list[RoundRecord]) -> None:
    # Two rounds of two sites, 1000 bytes there and 900 back each; 1.5 s and 2.5 s.
    again = RoundRecord(phase="refine", server_round=1, seconds=6.0)
    scored = RoundRecord(phase="evaluate-diffuse-uda", server_round=1, seconds=100.0)
    assert costs_by_row([*history, again, scored]) == {
        "asc-plus": RowCost(to_sites_bytes=4000, to_server_bytes=3600, rounds=2, seconds=4.0),
        "diffuse-uda": RowCost(to_sites_bytes=4000, to_server_bytes=3600, rounds=3, seconds=10.0),
    }


def test_costs_are_means_over_seeds_and_a_repeated_run_does_not_count() -> None:
    first = {"asc": RowCost(to_sites_bytes=10, to_server_bytes=4, rounds=2, seconds=1.0, images_per_second=8.0)}
    second = {"asc": RowCost(to_sites_bytes=20, to_server_bytes=6, rounds=4, seconds=2.0)}
    costs = [(0, first), (1, second), (0, {"asc": RowCost(rounds=99), "source-only": RowCost()})]
    assert cost_entries(costs) == {
        "source-only": {"to_sites_bytes": 0, "to_server_bytes": 0, "rounds": 0, "num_seeds": 1},
        "asc": {"to_sites_bytes": 15, "to_server_bytes": 5, "rounds": 3, "num_seeds": 2},
    }
    assert timing_entries(costs) == {
        "source-only": {"seconds": None, "images_per_second": None},
        "asc": {"seconds": 1.5, "images_per_second": 8.0},
    }


def test_the_exchange_of_a_run_is_that_of_its_last_row() -> None:
    run = {"asc": RowCost(to_sites_bytes=10, to_server_bytes=4), "asc-plus": RowCost(to_sites_bytes=30)}
    assert total_exchange([(0, run), (1, run), (2, {})]) == {"to_sites_bytes": 60, "to_server_bytes": 8}
