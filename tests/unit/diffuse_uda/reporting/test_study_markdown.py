import pytest

from diffuse_uda.reporting.study_markdown import markdown_lines, section


def test_a_table_has_a_head_a_rule_and_a_line_for_every_row() -> None:
    assert markdown_lines(["method", "Dice"], [["ASC", "50.0"]]) == [
        "| method | Dice |",
        "| --- | ---: |",
        "| ASC | 50.0 |",
    ]


def test_a_bar_in_a_name_opens_no_column() -> None:
    assert markdown_lines(["a|b"], [])[0] == r"| a\|b |"


def test_a_line_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a line of 1 cells in a table of 2 columns"):
        markdown_lines(["a", "b"], [["c"]])


def test_a_section_leaves_empty_sentences_out() -> None:
    assert section("Title", ["| a |"], ["One.", "", "Two."]) == "## Title\n\n| a |\n\nOne. Two.\n"
