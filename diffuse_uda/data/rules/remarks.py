"""Rows of the catalogue of bad input without a rule: they work, are answered elsewhere, or cannot be seen here."""

from __future__ import annotations

from diffuse_uda.data.rules.rule import Remark

REMARKS = (
    Remark(code="F21", about="big-endian NIfTI", answer="read as it is, in either byte order"),
    Remark(
        code="G12",
        about="affines of image and label map that differ by rounding",
        answer="accepted up to 0.01 mm at the farthest corner",
    ),
    Remark(
        code="G20",
        about="slices that are missing, doubled or unevenly spaced",
        answer="not visible in a NIfTI file; see the rules of DICOM",
    ),
    Remark(code="I06", about="scaled integers (scl_slope, scl_inter)", answer="scaled as the header says"),
    Remark(
        code="L03",
        about="labels that came back as 0.996 or 2.004",
        answer="rounded where they are at most 0.01 off, in the gate as in training",
    ),
    Remark(
        code="L08",
        about="label values with gaps (205, 420, 500)",
        answer="accepted: classes are the values in ascending order, renumbered when a case is prepared or scored",
    ),
    Remark(code="L11", about="contours (RTSTRUCT) that are open or cross themselves", answer="see the rules of DICOM"),
    Remark(
        code="L12",
        about="DICOM segmentations with omitted frames, fractions, another frame of reference",
        answer="see the rules of DICOM",
    ),
    Remark(
        code="L17",
        about="a structure found where the reference has none",
        answer="scored with a status of its own and counted (`diffuse_uda.algorithms.metrics`)",
    ),
    Remark(
        code="L18",
        about="a distance to a structure that is empty",
        answer="reported as undefined and never averaged (`diffuse_uda.algorithms.metrics`)",
    ),
    Remark(
        code="C02",
        about="one patient at two hospitals",
        answer="not decidable here: no hospital may compare its patients with another one's",
    ),
    Remark(code="C08", about="a hundred thousand files", answer="listed and checked as they come, case by case"),
    Remark(
        code="C09",
        about="an unknown configuration key, a wrong type or unit",
        answer="refused with the nearest key when a study is read (`diffuse_uda.config`)",
    ),
    Remark(
        code="C10",
        about="configuration values that contradict each other",
        answer="refused when a study is read (`diffuse_uda.config`)",
    ),
    Remark(
        code="C12",
        about="a workspace of an older version",
        answer="an interrupted run is gone on with only by the version that began it (`server.resume`)",
    ),
    Remark(
        code="C14",
        about="environment variables that override a file",
        answer="none does: a study comes from its file and the command line alone",
    ),
)
