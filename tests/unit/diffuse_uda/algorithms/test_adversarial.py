"""Least-squares critics: right is 0, undecided is a quarter, and fooling them pays."""

from __future__ import annotations

import pytest
import torch

from diffuse_uda.algorithms.adversarial import critic_loss, fooling_loss

ONES, ZEROS = torch.ones(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)


def test_critics_that_are_right_pay_nothing_and_undecided_ones_a_quarter_a_level() -> None:
    half = torch.full_like(ONES, 0.5)
    assert float(critic_loss([ZEROS, ZEROS], [ONES, ONES])) == 0.0
    assert float(critic_loss([half], [half])) == pytest.approx(0.25)
    assert float(critic_loss([half, half], [half, half])) == pytest.approx(0.5)
    assert float(critic_loss([ONES], [ZEROS])) == pytest.approx(1.0)


def test_the_student_pays_for_every_level_that_tells_it_from_its_teacher() -> None:
    assert float(fooling_loss([ONES, ONES])) == 0.0
    assert float(fooling_loss([ZEROS, ONES])) == pytest.approx(1.0)
    assert float(fooling_loss([ZEROS, ZEROS])) == pytest.approx(2.0)


def test_levels_have_to_be_there_and_to_agree() -> None:
    with pytest.raises(ValueError, match="found 0 and 0"):
        critic_loss([], [])
    with pytest.raises(ValueError, match="found 2 and 1"):
        critic_loss([ZEROS, ZEROS], [ONES])
    with pytest.raises(ValueError, match="one tensor for every decoder level"):
        fooling_loss([])
