"""The main table as Markdown."""

from typing import Any

from diffuse_uda.reporting.table import markdown_table

RESULTS: dict[str, Any] = {
    "rows": ["source-only", "diffuse-uda"],
    "seeds": [0],
    "targets": {
        "leeds": {"source-only": {"dice": 0.25, "hd95_mm": 12.34}, "diffuse-uda": {"dice": 0.5, "hd95_mm": None}},
        "york": {"source-only": {"dice": 0.35, "hd95_mm": 8.0}},
    },
    "summary": {
        "source-only": {"dice_mean": 0.3, "gap_closed_mean": 0.0},
        "diffuse-uda": {"dice_mean": 0.5, "gap_closed_mean": None},
    },
    "measured": {"environment": {"command": "make demo", "commit": "abc", "gpu": None}},
}


def test_every_method_is_a_line_with_percent_and_millimetres() -> None:
    lines = markdown_table(RESULTS).splitlines()
    assert lines[2] == "| Source-only | 25.0 / 12.3 | 35.0 / 8.0 | 30.0 | 0.0 |"


def test_what_is_undefined_or_missing_is_a_dash() -> None:
    assert markdown_table(RESULTS).splitlines()[3] == "| Diffuse-UDA | 50.0 / - | - | 50.0 | - |"


def test_the_run_is_named_by_its_command_seed_and_commit() -> None:
    assert markdown_table(RESULTS).splitlines()[-1] == "`make demo`; seed 0; commit abc"
