"""A procedural brain cohort: folded anatomies, MR signal equations, centres that differ by sequence.

Read in this order:

- `shapes`: ellipsoids, tubes and smooth random fields as implicit functions of a point in millimetres;
- `subjects`: the numbers that make one person differ from the next;
- `structures`: the implicit functions of each tissue of a subject;
- `anatomy`: from a person to tissue fractions and a label map on a voxel grid;
- `relaxation`: T1, T2, T2* and proton density of each tissue at 1.5 T and 3 T;
- `sequences`: what a pulse sequence makes of a tissue: the signal equations;
- `physics`: from an anatomy to a scan: point-spread function, coil shading, Rician noise;
- `centres`: which scanner stands where, and how many people it scanned;
- `cohort`: the folders on disk, in the nnU-Net v2 layout.
"""

from simulations.phantom.anatomy import Anatomy, Grid, render_anatomy
from simulations.phantom.centres import DEFAULT_CENTRES, CentreRecipe
from simulations.phantom.cohort import cohort_digest, write_cohort
from simulations.phantom.physics import Scanner, scan
from simulations.phantom.subjects import Subject, draw_subject

__all__ = [
    "DEFAULT_CENTRES",
    "Anatomy",
    "CentreRecipe",
    "Grid",
    "Scanner",
    "Subject",
    "cohort_digest",
    "draw_subject",
    "render_anatomy",
    "scan",
    "write_cohort",
]
