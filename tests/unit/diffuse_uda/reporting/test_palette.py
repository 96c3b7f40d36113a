from diffuse_uda.reporting.palette import STRUCTURE_COLOURS, row_colour, row_marker, structure_colour


def test_a_structure_has_one_colour_in_every_figure_and_the_first_ones_all_differ() -> None:
    colours = [structure_colour(label) for label in range(1, len(STRUCTURE_COLOURS) + 1)]
    assert len(set(colours)) == len(STRUCTURE_COLOURS)
    assert structure_colour(len(STRUCTURE_COLOURS) + 1) == colours[0]


def test_no_two_known_rows_share_colour_or_marker() -> None:
    rows = ["source-only", "source-only-random-conv", "shipped-and-adapted", "asc", "asc-plus", "diffuse-uda-pass-1"]
    rows += ["diffuse-uda", "target-supervised", "mine"]
    assert len({row_colour(row) for row in rows}) == len({row_marker(row) for row in rows}) == len(rows)


def test_no_two_lines_of_a_budget_curve_look_alike() -> None:
    rows = ["source-only", "source-only-random-conv", "shipped-and-adapted", "recoloured", "diffuse-uda", "mt-uda"]
    rows += ["le-uda", "le-uda-recoloured", "le-uda-diffuse-uda", "target-supervised"]
    assert len({row_colour(row) for row in rows}) == len({row_marker(row) for row in rows}) == len(rows)


def test_a_reference_and_an_ablation_look_like_their_method() -> None:
    for row in ("asc-plus-centralised", "asc-plus--no-fda"):
        assert (row_colour(row), row_marker(row)) == (row_colour("asc-plus"), row_marker("asc-plus"))
