import pytest

from diffuse_uda.algorithms.metrics import StructureScore, StructureStatus
from diffuse_uda.reporting.scores import CaseScores
from diffuse_uda.reporting.study_lines import line_over_seeds, patient_dice, patients_table, spread

MISSED = StructureScore(dice=0.0, hd95_mm=None, assd_mm=None, nsd=0.0, status=StructureStatus.EMPTY_PREDICTION)
ABSENT = StructureScore(dice=None, hd95_mm=None, assd_mm=None, nsd=None, status=StructureStatus.BOTH_EMPTY)


def _found(dice: float, hd95_mm: float = 2.0) -> StructureScore:
    return StructureScore(dice=dice, hd95_mm=hd95_mm, assd_mm=1.0, nsd=dice, status=StructureStatus.OK)


def _case(case_id: str, shell: StructureScore, core: StructureScore) -> CaseScores:
    return CaseScores(case_id=case_id, scores={"shell": shell, "core": core})


CELL = {
    0: [_case("a", _found(0.8), _found(0.4, 6.0)), _case("b", _found(0.6), MISSED)],
    2: [_case("a", _found(0.9), _found(0.6, 8.0)), _case("b", _found(0.7), ABSENT)],
}


def test_means_are_over_seeds_and_a_miss_is_counted_once_for_every_seed() -> None:
    # Seed 0: shell 0.7, core (0.4 + 0) / 2 = 0.2, line 0.45. Seed 2: shell 0.8, core 0.6, line 0.7.
    line = line_over_seeds(CELL)
    assert line["dice"] == pytest.approx((0.45 + 0.7) / 2)
    assert line["dice_std"] == pytest.approx(0.25 / 2**0.5, abs=1e-6)
    # HD95 of core: 6 of the only patient it was found in, then 8; never 0 for the missed one.
    assert line["structures"]["core"]["hd95_mm"] == 7.0
    assert line["hd95_mm"] == pytest.approx((2.0 + 7.0) / 2)
    assert (line["missed"], line["num_predictions"], line["hd95_undefined"]) == (1, 7, 2)
    assert (line["structures"]["core"]["missed"], line["structures"]["core"]["undefined"]) == (1, 2)
    assert line["seeds"] == [0, 2]
    assert line["num_cases"] == 2


def test_cases_are_averaged_over_their_seeds() -> None:
    # Patient a: (0.6 + 0.75) / 2. Patient b: (0.3 + 0.7) / 2, its HD95 is the shell's 2 mm both times.
    assert line_over_seeds(CELL)["cases"] == [
        {"case_id": "a", "dice": 0.675, "hd95_mm": 4.5},
        {"case_id": "b", "dice": 0.5, "hd95_mm": 2.0},
    ]


def test_an_empty_row_is_undefined_and_not_zero() -> None:
    line = line_over_seeds({0: []})
    assert (line["dice"], line["dice_std"], line["missed"], line["num_cases"]) == (None, None, 0, 0)


def test_one_value_has_no_spread() -> None:
    assert spread([0.5, None]) is None
    assert spread([0.5, 0.7]) == pytest.approx(0.141421)


def test_patients_keep_the_dice_of_every_seed_in_which_they_have_one() -> None:
    nothing = {5: [_case("c", ABSENT, ABSENT)]}
    assert patient_dice({**CELL, **nothing}) == {"a": {0: pytest.approx(0.6), 2: 0.75}, "b": {0: 0.3, 2: 0.7}}


def test_a_patients_scores_are_lists_in_the_order_of_the_seeds() -> None:
    table = patients_table(CELL, [0, 1, 2])
    assert table["b"] == {
        "dice": [0.3, None, 0.7],
        "hd95_mm": [2.0, None, 2.0],
        "assd_mm": [1.0, None, 1.0],
        "nsd": [0.3, None, 0.7],
        "structures": {"shell": 0.65, "core": 0.0},
    }
    assert list(table) == ["a", "b"]
