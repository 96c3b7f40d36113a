from diffuse_uda.reporting.rows import headline_row, is_adapted, row_name, row_order


def test_rows_are_read_from_the_floor_to_the_ceiling() -> None:
    given = ["target-supervised", "diffuse-uda", "mine", "diffuse-uda-pass-10", "diffuse-uda-pass-2", "asc-plus"]
    assert row_order([*given, "source-only", "asc", "asc"]) == [
        "source-only",
        "asc",
        "asc-plus",
        "diffuse-uda-pass-2",
        "diffuse-uda-pass-10",
        "diffuse-uda",
        "mine",
        "target-supervised",
    ]


def test_rows_are_spelt_as_the_papers_do() -> None:
    assert [row_name(row) for row in ("asc-plus", "diffuse-uda-pass-1", "mine")] == [
        "ASC+",
        "Diffuse-UDA, pass 1",
        "mine",
    ]


def test_the_report_is_about_the_last_adapted_row() -> None:
    assert headline_row(["target-supervised", "asc-plus", "diffuse-uda", "source-only"]) == "diffuse-uda"
    assert headline_row(["source-only", "target-supervised"]) is None
    assert not is_adapted("source-only")
