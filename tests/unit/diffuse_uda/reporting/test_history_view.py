import json
from pathlib import Path
from typing import Any

import pytest

from diffuse_uda.errors import InputError
from diffuse_uda.reporting.history_view import (
    RoundRecord,
    SiteRecord,
    exchange_by_phase,
    loss_curves,
    parse_record,
    read_history,
    seconds_by_phase,
)


def _record(server_round: int, loss: float | None = 1.0) -> dict[str, Any]:
    site = {"state": "used", "num_examples": 4, "metrics": {"loss": loss}, "bytes_sent": 10, "bytes_received": 5}
    return {
        "phase": "adapt",
        "server_round": server_round,
        "seconds": 1.5,
        "num_tensors": 3,
        "sites": {"leeds": site},
    }


def test_bytes_are_counted_from_the_chair_of_the_server() -> None:
    assert parse_record(_record(1)).sites["leeds"] == SiteRecord(
        state="used", num_examples=4, metrics={"loss": 1.0}, to_site_bytes=10, to_server_bytes=5
    )


def test_what_a_report_can_do_without_may_be_missing() -> None:
    assert parse_record({"phase": "adapt", "server_round": 1}) == RoundRecord(phase="adapt", server_round=1)
    assert parse_record({"phase": "a", "server_round": 1, "sites": {"leeds": {}}}).sites["leeds"] == SiteRecord()


def test_losses_that_are_no_numbers_are_left_out() -> None:
    assert parse_record(_record(1, None)).sites["leeds"].metrics == {}
    assert parse_record(_record(1, float("nan"))).sites["leeds"].metrics == {}


def test_half_a_line_is_passed_over_and_a_repeated_round_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    lines = [json.dumps(_record(1, 9.0)), '{"phase": "ad', json.dumps(_record(1, 2.0)), json.dumps(_record(2)), '{"ph']
    path.write_text("\n".join(lines), encoding="utf-8")
    records = read_history(path)
    assert [record.server_round for record in records] == [1, 2]
    assert records[0].sites["leeds"].metrics["loss"] == 2.0


def test_no_finished_round_is_an_empty_history(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.jsonl") == []


@pytest.mark.parametrize("line", ["[]", '{"phase": "adapt"}', '{"phase": "a", "server_round": "one"}', "3"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(f"{json.dumps(_record(1))}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        read_history(path)


def test_a_history_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UnicodeDecodeError"):
        read_history(path)


def test_exchange_adds_up_by_phase_and_direction(history: list[RoundRecord]) -> None:
    # Adapt: 2 rounds x 2 sites x (1000 out, 900 back). Evaluation: 1000 out, 20 back.
    assert exchange_by_phase(history) == {
        "phases": {
            "adapt": {"rounds": 2, "tensors": 7, "to_sites_bytes": 4000, "to_server_bytes": 3600},
            "evaluate-asc-plus": {"rounds": 1, "tensors": 7, "to_sites_bytes": 1000, "to_server_bytes": 20},
        },
        "total": {"to_sites_bytes": 5000, "to_server_bytes": 3620},
    }
    assert exchange_by_phase([]) == {"phases": {}, "total": {"to_sites_bytes": 0, "to_server_bytes": 0}}


def test_times_add_up_by_phase(history: list[RoundRecord]) -> None:
    assert seconds_by_phase(history) == {"adapt": 4.0, "evaluate-asc-plus": 0.25}


def test_curves_hold_reported_losses_only(history: list[RoundRecord]) -> None:
    assert loss_curves(history) == {"adapt": {"leeds": [(1, 0.5), (2, 0.5)], "york": [(1, 0.5), (2, 0.5)]}}
