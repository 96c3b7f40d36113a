"""Turning a volume about its third axis."""

import pytest
import torch

from diffuse_uda.algorithms.turning import turned


def test_a_quarter_turn_takes_axis_i_to_axis_j() -> None:
    volume = torch.zeros((1, 5, 5, 1))
    volume[0, 4, 2, 0] = 1.0  # at the far end of i
    there = turned(volume, degrees=90.0, spacing_mm=(1.0, 1.0, 1.0))
    assert there[0, 2, 4, 0] == pytest.approx(1.0, abs=1e-5)
    assert there.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_turn_by_nothing_changes_nothing() -> None:
    volume = torch.rand((2, 6, 4, 3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned(volume, degrees=0.0, spacing_mm=(1.0, 2.0, 3.0)), volume)


def test_there_and_back_again_is_the_same_place_whatever_the_voxels() -> None:
    i, j, k = torch.meshgrid(torch.arange(24.0), torch.arange(12.0), torch.arange(5.0), indexing="ij")
    blob = torch.exp(-((i - 15) ** 2 / 18 + (2 * (j - 7)) ** 2 / 18))[None] + 0 * k
    there = turned(blob, degrees=8.0, spacing_mm=(1.0, 2.0, 1.0))
    back = turned(there, degrees=-8.0, spacing_mm=(1.0, 2.0, 1.0))
    assert (blob - there).abs().max() > 0.1
    assert (blob - back).abs().max() < 0.1


def test_a_ball_of_millimetres_stays_a_ball() -> None:
    i, j, k = torch.meshgrid(torch.arange(31.0) - 15, torch.arange(16.0) - 7.5, torch.arange(3.0), indexing="ij")
    ball = torch.exp(-(i**2 + (2 * j) ** 2) / 40)[None] + 0 * k
    assert (turned(ball, degrees=30.0, spacing_mm=(1.0, 2.0, 1.0)) - ball).abs().max() < 0.06
