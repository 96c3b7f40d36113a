from collections.abc import Callable, Mapping

import pytest

from diffuse_uda.reporting.headline import Headline, Verdict, compose_headline
from diffuse_uda.reporting.results import Results, build_results
from diffuse_uda.reporting.scores import SiteScores

Table = Mapping[str, Mapping[str, float]]


@pytest.fixture
def compose(make_sites: Callable[[Table], list[SiteScores]]) -> Callable[..., Headline]:
    def make(table: Table, seeds: tuple[int, ...] = (0, 1)) -> Headline:
        return compose_headline(build_results(make_sites(table), seeds=seeds, exchange={}, measured={}))

    return make


def test_a_gain_is_told_with_its_share_of_the_gap(results: Results) -> None:
    headline = compose_headline(results)
    assert headline.verdict is Verdict.BETTER
    assert headline.sentence == (
        "Without a single target label, Diffuse-UDA raised the mean Dice over 2 target centres from 0.300 to 0.550, "
        "closing 50% of the gap to training with target labels."
    )
    assert headline.details == (
        "4 of 4 held-out target scans were segmented better than by source-only.",
        "ASC+, the stage before the generator, reached 0.450; Diffuse-UDA added 0.100.",
        "One seed: how much of a difference is chance, this run alone cannot tell.",
    )


def test_harm_is_told_as_plainly_and_the_better_stage_is_named(compose: Callable[..., Headline]) -> None:
    headline = compose({"leeds": {"source-only": 0.5, "asc-plus": 0.6, "diffuse-uda": 0.4}})
    assert headline.verdict is Verdict.WORSE
    assert headline.sentence == "Diffuse-UDA did harm: the mean Dice at leeds fell from 0.500 to 0.400."
    assert headline.details == (
        "0 of 2 held-out target scans were segmented better than by source-only.",
        "ASC+, the stage before the generator, reached 0.600, which is better: Diffuse-UDA lost 0.200.",
    )


def test_the_generator_is_credited_with_what_it_added_to_recoloured_scans(compose: Callable[..., Headline]) -> None:
    rows = {"source-only": 0.5, "asc-plus": 0.6, "recoloured": 0.75, "diffuse-uda": 0.8}
    assert compose({"leeds": rows}).details[1] == (
        "Training on recoloured scans, the stage before the generator, reached 0.750; Diffuse-UDA added 0.050."
    )


def test_a_change_below_half_a_hundredth_is_none(compose: Callable[..., Headline]) -> None:
    headline = compose({"leeds": {"source-only": 0.5, "asc-plus": 0.502, "diffuse-uda": 0.504}})
    assert headline.verdict is Verdict.SAME
    assert headline.sentence == "Diffuse-UDA made no difference: the mean Dice at leeds went from 0.500 to 0.504."
    assert "reached 0.502, which is as good." in headline.details[1]
    assert compose({"leeds": {"source-only": 0.5, "asc": 0.505}}).verdict is Verdict.BETTER


def test_a_target_that_lost_while_the_mean_won_is_named(compose: Callable[..., Headline]) -> None:
    headline = compose({"hull": {"source-only": 0.5, "asc": 0.4}, "leeds": {"source-only": 0.2, "asc": 0.6}})
    assert headline.verdict is Verdict.BETTER
    assert headline.details[0] == "At hull it fell from 0.500 to 0.400."


def test_a_target_that_won_while_the_mean_lost_is_named(compose: Callable[..., Headline]) -> None:
    headline = compose({"hull": {"source-only": 0.5, "asc": 0.6}, "leeds": {"source-only": 0.6, "asc": 0.2}})
    assert headline.verdict is Verdict.WORSE
    assert headline.details[0] == "At hull it rose from 0.500 to 0.600."


def test_only_targets_with_both_scores_count(compose: Callable[..., Headline]) -> None:
    headline = compose({"hull": {"source-only": 0.1}, "leeds": {"source-only": 0.2, "asc": 0.6, "asc-plus": 0.6}})
    assert "at leeds from 0.200 to 0.600." in headline.sentence


def test_asc_plus_missing_at_one_target_is_not_compared(compose: Callable[..., Headline]) -> None:
    headline = compose(
        {
            "hull": {"source-only": 0.1, "asc-plus": 0.3, "diffuse-uda": 0.4},
            "leeds": {"source-only": 0.2, "diffuse-uda": 0.6},
        }
    )
    assert not any("ASC+" in detail for detail in headline.details)


def test_an_undefined_gap_is_explained(compose: Callable[..., Headline]) -> None:
    headline = compose({"leeds": {"source-only": 0.5, "asc": 0.6, "target-supervised": 0.4}})
    assert "gap to" not in headline.sentence
    assert headline.details[-1].startswith("The share of the gap is undefined at leeds: target-supervised is only -0.1")


def test_what_was_not_measured_is_not_claimed(compose: Callable[..., Headline]) -> None:
    unscored = compose({"leeds": {"asc": 0.6}, "hull": {}})
    assert unscored.verdict is Verdict.UNKNOWN
    assert unscored.sentence == "No target holds labelled test scans, so what ASC brought was not measured."
    floor = compose({"leeds": {"source-only": 0.6}})
    assert floor.sentence.endswith("adapted nothing; its mean Dice at the targets is 0.600.")
    assert compose({"leeds": {}}).sentence.endswith("adapted nothing; it was not scored at any target.")
