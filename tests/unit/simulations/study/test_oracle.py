"""What choosing a round by the labels would have brought."""

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.methods import build_method
from simulations.study.oracle import RoundScores, oracle_choice, phases_of_rows

ROUNDS: RoundScores = {
    "2": {"a": [0.8, 0.6], "b": [0.2, None]},
    "10": {"a": [0.4, 0.6], "b": [0.9, 0.3]},
    "9": {"a": [0.1, 0.1], "b": [0.1, 0.1]},
}


def test_the_best_round_stands_beside_the_last_one() -> None:
    # Round 2: structures 0.5 and 0.6, mean 0.55. Round 10, the last by number: 0.65 and 0.45, mean 0.55: a draw.
    choice = oracle_choice(ROUNDS, {"a", "b"})
    assert choice is not None
    assert choice.oracle_round == 2
    assert [choice.dice, choice.oracle_dice] == pytest.approx([0.55, 0.55])


def test_only_reported_scans_count() -> None:
    choice = oracle_choice(ROUNDS, {"a"})
    assert choice is not None
    assert [choice.dice, choice.oracle_dice, choice.oracle_round] == pytest.approx([0.5, 0.7, 2])
    assert oracle_choice(ROUNDS, {"elsewhere"}) is None


def test_a_row_is_scored_by_the_phases_that_trained_its_segmenter() -> None:
    phases = phases_of_rows(build_method(StudyConfig(num_passes=2), num_targets=2))
    assert {row: [phase.label for phase in of_row] for row, of_row in phases.items()} == {
        "asc-plus": ["adapt"],
        "recoloured": ["recolour-for-1", "recolour-for-2"],
        "diffuse-uda-pass-1": ["refine-for-1", "refine-for-2"],
        "diffuse-uda": ["refine-2-for-1", "refine-2-for-2"],
    }
    resting = StudyConfig.from_flat({"refine.source-weight": 1.0})
    assert [phase.label for phase in phases_of_rows(build_method(resting, num_targets=2))["diffuse-uda"]] == [
        "refine-for-1",
        "refine-for-2",
    ]
    shared = phases_of_rows(build_method(StudyConfig.from_flat({"refine.per-target": False}), num_targets=2))
    assert [phase.label for phase in shared["diffuse-uda"]] == ["refine"]
