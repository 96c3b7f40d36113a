from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulations.phantom.anatomy import Grid, render_anatomy
from simulations.phantom.shapes import Points, Vector
from simulations.phantom.structures import Tissue, tissue_shapes
from simulations.phantom.subjects import Subject, draw_subject


@pytest.fixture(scope="module")
def unfolded() -> Subject:
    """Someone of template size whose only furrows are the fissures: between the hemispheres, and the lateral ones."""
    person = draw_subject(np.random.default_rng(0))
    return replace(
        person,
        sulcal_depth_mm=0.0,
        sulcal_width_mm=2.0,
        cortical_thickness_mm=5.0,
        ventricle_radius_mm=6.0,
        nucleus_scale=1.0,
        cerebellum_scale=1.0,
        csf_margin_mm=3.0,
    )


def tissue_at(subject: Subject, point_mm: Vector) -> Tissue:
    x, y, z = (np.array([axis], np.float32) for axis in point_mm)
    points: Points = (x, y, z)
    inside = [tissue for tissue, shape in tissue_shapes(subject, points).items() if shape[0] < 0.0]
    return inside[-1] if inside else Tissue.AIR


@pytest.mark.parametrize(
    ("point_mm", "tissue"),
    [
        ((11, -14, 0), Tissue.DEEP_GM),  # thalamus
        ((-26, 4, 1), Tissue.DEEP_GM),  # lentiform nucleus
        ((10, 12, 17), Tissue.VENTRICULAR_CSF),
        ((0, -8, 2), Tissue.VENTRICULAR_CSF),  # third ventricle
        ((21, -50, -37), Tissue.CEREBELLAR_WM),
        ((21, -50, -57), Tissue.CEREBELLAR_GM),
        ((0, -22, -40), Tissue.BRAINSTEM),
        ((0, 20, 5), Tissue.WHITE_MATTER),  # corpus callosum: the fissure ends above it
        ((0, 0, 50), Tissue.CSF),  # fissure between the hemispheres, 1 mm to either side
        ((3, 0, 50), Tissue.CORTICAL_GM),  # its bank, from 1 mm to 6 mm
        ((15, 0, 45), Tissue.WHITE_MATTER),
        ((45, 4, -7), Tissue.CSF),  # lateral fissure
        ((45, 4, -3), Tissue.CORTICAL_GM),
        ((0, 0, 64), Tissue.CSF),  # between the top of the brain at 62 mm and the dura at 65 mm
        ((0, 0, 67), Tissue.AIR),
    ],
)
def test_landmarks_lie_where_anatomy_puts_them(unfolded: Subject, point_mm: Vector, tissue: Tissue) -> None:
    assert tissue_at(unfolded, point_mm) is tissue


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("y", [-30.0, -15.0, 0.0, 15.0, 30.0])
def test_the_cortex_is_as_thick_as_the_subject_says(unfolded: Subject, side: float, y: float) -> None:
    # Along a line to the side near the height of the middle, where the surface is nearly upright.
    along = np.arange(30.0, 70.0, 0.1, dtype=np.float32)
    shapes = tissue_shapes(unfolded, (np.float32(side) * along, np.full_like(along, y), np.full_like(along, 15.0)))

    ribbon = (shapes[Tissue.CORTICAL_GM] < 0) & (shapes[Tissue.WHITE_MATTER] > 0)

    assert ribbon.sum() * 0.1 == pytest.approx(5.0, rel=0.15)


def test_sulci_are_fluid_and_the_wider_they_are_the_more() -> None:
    person = draw_subject(np.random.default_rng(1))
    fluid = [
        render_anatomy(replace(person, sulcal_width_mm=width), Grid(), oversampling=1).fractions[Tissue.CSF].sum()
        for width in (1.5, 3.0)
    ]
    no_sulci = replace(person, sulcal_depth_mm=0.0, sulcal_width_mm=1.5)
    base = render_anatomy(no_sulci, Grid(), oversampling=1).fractions[Tissue.CSF].sum()

    assert base < fluid[0] < fluid[1]
