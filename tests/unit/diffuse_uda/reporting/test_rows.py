from diffuse_uda.reporting.rows import (
    base_row,
    change_name,
    federated_row,
    headline_row,
    is_ablation,
    is_adapted,
    is_centralised,
    row_name,
    row_order,
)


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


def test_a_study_is_read_from_one_site_alone_over_federations_and_references_to_ablations() -> None:
    order = [
        "source-only",
        "source-only-random-conv",
        "shipped-and-adapted",
        "asc",
        "asc-plus",
        "diffuse-uda-pass-1",
        "diffuse-uda",
        "asc-plus-centralised",
        "diffuse-uda-pass-1-centralised",
        "diffuse-uda-centralised",
        "target-supervised",
        "asc-plus--no-fda",
        "diffuse-uda--no-cutmix",
    ]
    assert row_order(sorted(order)) == order


def test_references_and_ablations_are_spelt_after_their_row() -> None:
    assert row_name("source-only-random-conv") == "Source-only + random conv."
    assert row_name("diffuse-uda-pass-1-centralised") == "Diffuse-UDA, pass 1 (centralised)"
    assert row_name("asc-plus--no-fda") == "ASC+, no FDA"
    assert row_name("asc-plus-centralised--pooled-generator") == "ASC+ (centralised), pooled generator"


def test_a_row_tells_its_base_and_its_federated_counterpart() -> None:
    assert base_row("asc-plus--no-fda") == "asc-plus"
    assert change_name("asc-plus--no-cutmix") == "no CutMix"
    assert federated_row("asc-centralised") == federated_row("asc") == "asc"
    assert [is_ablation(row) for row in ("asc", "asc--no-fda")] == [False, True]
    assert [is_centralised(row) for row in ("asc", "asc-centralised", "asc-centralised--no-fda")] == [False, True, True]
    assert base_row("asc") == "asc"
    assert change_name("asc") == ""


def test_no_report_is_about_what_no_hospital_would_run() -> None:
    rows = ["source-only-random-conv", "asc-plus", "diffuse-uda-centralised", "diffuse-uda--no-fda"]
    assert headline_row(rows) == "asc-plus"
    assert headline_row(["source-only", "source-only-random-conv"]) is None
