import pytest

from diffuse_uda.reporting.gaps import closed_mean, closed_worst, measure_gap


def test_gap_closed_is_the_share_of_the_way_from_floor_to_ceiling() -> None:
    gap = measure_gap({"source-only": 0.4, "target-supervised": 0.8})
    assert gap.closed_by(0.6) == pytest.approx(0.5)
    assert gap.closed_by(0.4) == 0.0
    assert gap.closed_by(0.8) == 1.0


def test_harm_is_negative_and_passing_the_reference_is_above_one() -> None:
    gap = measure_gap({"source-only": 0.4, "target-supervised": 0.8})
    assert gap.closed_by(0.2) == pytest.approx(-0.5)
    assert gap.closed_by(0.9) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"source-only": 0.4}, "no target-supervised row"),
        ({"target-supervised": 0.4}, "no source-only row"),
        ({"source-only": None, "target-supervised": 0.4}, "no source-only row"),
        ({"source-only": 0.4, "target-supervised": 0.4099}, "only +0.010 Dice"),
        ({"source-only": 0.8, "target-supervised": 0.4}, "only -0.400 Dice"),
    ],
)
def test_without_a_gap_there_is_no_share_and_the_reason_is_said(rows: dict[str, float | None], reason: str) -> None:
    gap = measure_gap(rows)
    assert gap.closed_by(0.5) is None
    assert gap.undefined_because is not None
    assert reason in gap.undefined_because


def test_a_gap_of_exactly_one_hundredth_counts() -> None:
    assert measure_gap({"source-only": 0.5, "target-supervised": 0.51}).closed_by(0.505) == pytest.approx(0.5)


def test_an_unscored_method_has_no_share() -> None:
    assert measure_gap({"source-only": 0.4, "target-supervised": 0.8}).closed_by(None) is None


def test_mean_and_worst_look_at_defined_shares_only() -> None:
    assert closed_mean([0.5, None, 0.1]) == pytest.approx(0.3)
    assert closed_worst([0.5, None, -0.1]) == -0.1
    assert closed_mean([None]) is None
    assert closed_worst([]) is None
