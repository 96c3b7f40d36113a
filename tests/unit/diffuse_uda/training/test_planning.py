"""One grid and one network for all sites."""

from __future__ import annotations

import math

import pytest

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.fingerprint import Fingerprint
from diffuse_uda.errors import MemoryEstimateError
from diffuse_uda.training.planning import derive_plan

CONFIG = StudyConfig()


def _site(
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0),
    extent: tuple[float, float, float] = (160.0, 192.0, 160.0),
    *,
    memory: float = 16.0,
    lowest: float = 0.0,
) -> Fingerprint:
    return Fingerprint(spacing_mm=spacing, extent_mm=extent, lowest=lowest, highest=900.0, memory_gib=memory)


def _planned(**sites: Fingerprint) -> StudyConfig:
    return StudyConfig.from_flat({**CONFIG.to_flat(), **derive_plan(CONFIG, sites, 8).changes})


def test_sites_that_fit_the_study_change_nothing() -> None:
    assert _planned(york=_site(), leeds=_site()) == CONFIG


def test_the_grid_is_the_median_over_sites_axis_by_axis() -> None:
    york, leeds, hull = _site((1.0, 4.0, 4.0)), _site((2.0, 4.0, 8.0)), _site((8.0, 4.0, 5.0))
    planned = _planned(york=york, leeds=leeds, hull=hull)
    assert planned.grid.spacing_mm == (2.0, 4.0, 5.0)
    assert planned.grid.patch_size == (80, 48, 32)  # 160 / 2, 192 / 4, 160 / 5, in blocks of eight


def test_a_patch_is_whole_blocks_and_never_less_than_two() -> None:
    planned = _planned(york=_site(extent=(161.0, 20.0, 165.0)))
    assert planned.grid.patch_size == (48, 16, 48)


def test_the_smallest_site_decides_how_much_a_patch_holds() -> None:
    rich = _planned(york=_site((1.0, 1.0, 1.0), memory=64.0), leeds=_site((1.0, 1.0, 1.0), memory=64.0))
    poor = _planned(york=_site((1.0, 1.0, 1.0), memory=64.0), leeds=_site((1.0, 1.0, 1.0), memory=3.0))
    assert rich.grid.patch_size == (160, 192, 160)
    assert math.prod(poor.grid.patch_size) < math.prod(rich.grid.patch_size)
    assert all(size % 8 == 0 for size in poor.grid.patch_size)


def test_networks_get_narrower_before_a_patch_sees_less_than_half() -> None:
    planned = _planned(york=_site((1.0, 1.0, 1.0), memory=0.8))
    assert planned.segmenter.channels == tuple(count // 2 for count in CONFIG.segmenter.channels)


def test_a_site_that_can_hold_nothing_is_named() -> None:
    with pytest.raises(MemoryEstimateError, match=r"leeds has 0\.001 GiB"):
        _planned(york=_site(), leeds=_site(memory=0.001))


def test_hounsfield_units_beside_others_are_pointed_out() -> None:
    mixed = derive_plan(CONFIG, {"york": _site(lowest=-900.0), "leeds": _site()}, 8)
    alike = derive_plan(CONFIG, {"york": _site(lowest=-900.0), "leeds": _site(lowest=-800.0)}, 8)
    assert "york: Hounsfield units, the others not" in " ".join(mixed.reasons)
    assert "Hounsfield" not in " ".join(alike.reasons)


def test_a_plan_needs_somebody_to_plan_for() -> None:
    with pytest.raises(ValueError, match="no fingerprints"):
        derive_plan(CONFIG, {}, 8)
