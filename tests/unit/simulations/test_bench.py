"""Wall time in which at least one site worked."""

from simulations.bench import covered


def test_sites_that_work_at_the_same_time_count_once() -> None:
    # 0-4 and 2-5 overlap: five seconds; 7-8 alone: one more; 7.2-7.5 is inside.
    assert covered([(2.0, 5.0), (0.0, 4.0), (7.0, 8.0), (7.2, 7.5)]) == 6.0


def test_no_work_is_no_time() -> None:
    assert covered([]) == 0.0
