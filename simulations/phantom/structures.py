"""Where each tissue of a subject is: implicit functions of points in the subject's own frame.

The cerebrum is a smooth body cut by thin sheets of fluid: the fissure between the hemispheres, the lateral (Sylvian)
fissures, and sulci along the zero crossings of a random field that is constant along the radius. The cortex is the
layer of given thickness under every surface that is left, so it follows each fold; white matter is what remains.
Positions and sizes are in mm, x to the right, y to the front, z to the top, the origin between the thalami.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from simulations.phantom.shapes import (
    Field,
    Points,
    Vector,
    ellipsoid,
    smooth_union,
    sum_of_products,
    sum_of_squares,
    tube,
)
from simulations.phantom.subjects import Subject

DEEPEST_SULCUS_MM = 30.0
"""Bottom of the cortex under the deepest possible sulcus: 1.5 x 15 mm and a thickness of 5.2 mm, and some room."""


class Tissue(StrEnum):
    """What gives signal, in the order in which it is painted: a later one covers an earlier one."""

    AIR = "air"
    CSF = "csf"
    BRAINSTEM = "brainstem"
    CEREBELLAR_GM = "cerebellar_gm"
    CEREBELLAR_WM = "cerebellar_wm"
    CORTICAL_GM = "cortical_gm"
    WHITE_MATTER = "white_matter"
    DEEP_GM = "deep_gm"
    VENTRICULAR_CSF = "ventricular_csf"


def tissue_shapes(subject: Subject, points: Points) -> dict[Tissue, Field]:
    """Implicit functions of every tissue but air, in painting order, at points of the subject's own frame."""
    body = _cerebral_body(points)
    pial, white = _folded_cortex(subject, points, body)
    brainstem = smooth_union(
        tube(points, start_mm=(0, -14, -14), end_mm=(0, -20, -34), start_radius_mm=13, end_radius_mm=15),
        tube(points, start_mm=(0, -20, -34), end_mm=(0, -28, -60), start_radius_mm=13, end_radius_mm=8),
        blend_mm=6,
    )
    size = subject.cerebellum_scale
    # Two hemispheres of the cerebellum.
    lobes = [
        ellipsoid(points, centre_mm=(side * 21, -50, -37), radii_mm=(30 * size, 27 * size, 22 * size))
        for side in (-1, 1)
    ]
    # The gap to the cerebrum is the tentorium's.
    cerebellum = np.maximum(smooth_union(*lobes, blend_mm=12), np.float32(2.0) - body)
    arbor = cerebellum + np.float32(8.0) + np.float32(2.5) * subject.folia(points)
    dura = smooth_union(smooth_union(body, cerebellum, blend_mm=10), brainstem, blend_mm=10)
    return {
        Tissue.CSF: dura - np.float32(subject.csf_margin_mm),
        Tissue.BRAINSTEM: brainstem,
        Tissue.CEREBELLAR_GM: cerebellum,
        Tissue.CEREBELLAR_WM: arbor,
        Tissue.CORTICAL_GM: pial,
        Tissue.WHITE_MATTER: white,
        Tissue.DEEP_GM: _deep_nuclei(subject, points),
        Tissue.VENTRICULAR_CSF: _ventricles(subject, points),
    }


def _cerebral_body(points: Points) -> Field:
    """The cerebrum without any fold: a dome with a flat base, and two temporal lobes."""
    x, y, z = points
    dome = ellipsoid(points, centre_mm=(0, 0, 4), radii_mm=(64, 82, 58))
    base = -(z + np.float32(20.0) + np.float32(0.1) * y)
    dome = -smooth_union(-dome, -base, blend_mm=14)
    temporal = ellipsoid((np.abs(x), y, z), centre_mm=(41, 6, -22), radii_mm=(21, 38, 18))
    return smooth_union(dome, temporal, blend_mm=6)


def _folded_cortex(subject: Subject, points: Points, body: Field) -> tuple[Field, Field]:
    """Cut the body by sheets of fluid; return the outer (pial) and the inner (white) surface of the cortex."""
    x, y, z = points
    lateral = np.abs(x)
    deeper = np.clip(np.float32(0.35) * subject.fold_depths(points), -0.5, 0.5)
    depth_mm = np.float32(subject.sulcal_depth_mm) * (1.0 + deeper)
    half_width = np.float32(0.5 * subject.sulcal_width_mm)
    thickness = np.float32(subject.cortical_thickness_mm)
    sulcus = _distance_to_sulci(
        subject, points, where=np.abs(body + DEEPEST_SULCUS_MM / 2) < DEEPEST_SULCUS_MM / 2 + 3.0
    )
    core = ellipsoid(points, centre_mm=(0, -4, 2), radii_mm=(40, 44, 24))
    sylvian = np.abs(z + np.float32(8.0) - np.float32(0.25) * y)
    sheets = [
        # distance to the middle of the sheet, and a function that is positive where the sheet has ended
        (sulcus, -(body + depth_mm)),
        (lateral, -core),
        (sylvian, np.maximum(np.float32(30.0) - lateral, np.abs(y - 4.0) - np.float32(34.0))),
    ]
    pial, white = body, body + thickness
    for distance, end in sheets:
        pial = np.maximum(pial, -np.maximum(distance - half_width, end))
        white = np.maximum(white, -np.maximum(distance - half_width - thickness, end - thickness))
    return pial, white


def _distance_to_sulci(subject: Subject, points: Points, *, where: npt.NDArray[np.bool_]) -> Field:
    """Distance in mm to the nearest sheet of a sulcus at the points `where`, infinite elsewhere.

    The field of the folds is read off a sphere, so a sulcus goes straight down. The distance to f = 0 is taken as
    |f| / |grad f| (first order); the slope has a floor, or flat places of the field would become fluid or cortex.
    """
    x, y, z = (axis[where] for axis in points)
    radius = np.sqrt(sum_of_squares((x, y, z))) + np.float32(1e-3)
    outward: Points = (x / radius, y / radius, z / radius)
    shell_mm = np.float32(60.0)
    value, gradient = subject.folds.with_gradient((outward[0] * shell_mm, outward[1] * shell_mm, outward[2] * shell_mm))
    radial = sum_of_products(gradient, outward)
    along_shell = np.sqrt(np.maximum(sum_of_squares(gradient) - radial * radial, 0.0))
    floor = np.float32(0.4 * 2.0 * np.pi / subject.fold_wavelength_mm)
    distance = np.full_like(points[0], np.inf)
    distance[where] = np.abs(value) / np.maximum(along_shell, floor) * (radius / shell_mm)
    return distance


def _deep_nuclei(subject: Subject, points: Points) -> Field:
    """On each side a thalamus and a lentiform nucleus, the internal capsule between them."""
    x, y, z = points
    mirrored: Points = (np.abs(x), y, z)
    size = subject.nucleus_scale
    thalamus = ellipsoid(mirrored, centre_mm=(11, -14, 4), radii_mm=(9 * size, 14 * size, 9 * size))
    lentiform = ellipsoid(mirrored, centre_mm=(26, 4, 1), radii_mm=(8 * size, 17 * size, 11 * size))
    return np.minimum(thalamus, lentiform)


def _ventricles(subject: Subject, points: Points) -> Field:
    """Two lateral ventricles, each a curved horn from front to back and down, and the slit of the third between."""
    sides = []
    for side in (-1.0, 1.0):
        # x grows to the right, so that the left one is at -1.
        radius = subject.ventricle_radius_mm * (1.0 - side * 0.5 * subject.ventricle_asymmetry)
        course: list[tuple[Vector, float]] = [
            ((side * 12, 30, 10), 0.75),
            ((side * 10, 12, 17), 1.0),
            ((side * 13, -16, 19), 0.9),
            ((side * 25, -38, 9), 1.05),
            ((side * 31, -26, -6), 0.45),
        ]
        horn = np.full_like(points[0], np.inf)
        for (start, start_size), (end, end_size) in pairwise(course):
            segment = tube(
                points,
                start_mm=start,
                end_mm=end,
                start_radius_mm=start_size * radius,
                end_radius_mm=end_size * radius,
            )
            horn = np.minimum(horn, segment)
        sides.append(horn)
    third = ellipsoid(points, centre_mm=(0, -8, 2), radii_mm=(0.5 * subject.ventricle_radius_mm, 13, 10))
    return np.minimum(np.minimum(*sides), third)
