import pytest

from diffuse_uda.algorithms.metrics import StructureScore, StructureStatus
from diffuse_uda.reporting.scores import CaseScores, case_dice, mean_defined, rounded, summarise_row


def _score(dice: float | None, hd95_mm: float | None, status: str = StructureStatus.OK) -> StructureScore:
    return StructureScore(dice=dice, hd95_mm=hd95_mm, assd_mm=hd95_mm, nsd=dice, status=StructureStatus(status))


MISSED = _score(0.0, None, StructureStatus.EMPTY_PREDICTION)
ABSENT = _score(None, None, StructureStatus.BOTH_EMPTY)


def test_structures_weigh_alike_whatever_the_number_of_cases_that_hold_them() -> None:
    # Shell: 0.8 and 0.6, mean 0.7. Core: 0.1 in the only case that has it. Line: (0.7 + 0.1) / 2.
    cases = [
        CaseScores(case_id="b", scores={"shell": _score(0.8, 2.0), "core": ABSENT}),
        CaseScores(case_id="a", scores={"shell": _score(0.6, 4.0), "core": _score(0.1, 9.0)}),
    ]
    line = summarise_row(cases)
    assert line["dice"] == pytest.approx(0.4)
    assert line["hd95_mm"] == pytest.approx((3.0 + 9.0) / 2)
    assert line["structures"]["shell"]["dice"] == pytest.approx(0.7)
    assert line["hd95_undefined"] == line["structures"]["core"]["undefined"] == 1
    assert [case["case_id"] for case in line["cases"]] == ["a", "b"]
    assert line["num_cases"] == 2


def test_a_missed_structure_costs_dice_and_its_missing_distance_is_counted() -> None:
    line = summarise_row([CaseScores(case_id="a", scores={"shell": _score(1.0, 0.0), "core": MISSED})])
    assert line["dice"] == 0.5
    assert (line["hd95_mm"], line["hd95_undefined"]) == (0.0, 1)
    assert line["structures"]["core"] == {
        "dice": 0.0,
        "hd95_mm": None,
        "assd_mm": None,
        "nsd": 0.0,
        "undefined": 1,
        "missed": 1,
    }


def test_nothing_scored_gives_none_and_never_zero() -> None:
    empty = summarise_row([])
    assert (empty["dice"], empty["hd95_mm"], empty["hd95_undefined"], empty["num_cases"]) == (None, None, 0, 0)
    assert case_dice(CaseScores(case_id="a", scores={"core": ABSENT})) is None


def test_order_of_cases_does_not_change_a_digit() -> None:
    cases = [CaseScores(case_id=str(i), scores={"shell": _score(0.1 * i, 0.3 * i)}) for i in range(1, 10)]
    assert summarise_row(cases) == summarise_row(cases[::-1])


def test_rounding_keeps_six_digits_and_no_negative_zero() -> None:
    assert str(rounded(-1e-9)) == "0.0"
    assert rounded(1 / 3) == 0.333333
    assert rounded(None) is None
    assert mean_defined([None, 1.0, 3.0]) == 2.0
