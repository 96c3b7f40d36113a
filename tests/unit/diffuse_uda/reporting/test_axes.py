from diffuse_uda.reporting.axes import dress_axes, explain_marks, name_numbers, name_rows
from diffuse_uda.reporting.canvas import light_figure


def test_rows_are_named_from_the_top() -> None:
    axes = light_figure(4, 2).subplots()
    name_rows(axes, ["first", "_second$"])
    assert axes.get_ylim() == (1.5, -0.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", r" _second\$"]


def test_an_explanation_breaks_at_the_width_of_its_figure_and_never_inside_a_word() -> None:
    figure = light_figure(2, 1)
    explain_marks(figure, "bars are means of all; dots are target-supervised")
    assert figure.get_supxlabel().split("\n") == ["bars are means of all; dots", "are target-supervised"]


def test_a_dressed_panel_has_no_frame() -> None:
    axes = light_figure(4, 2).subplots()
    dress_axes(axes, title="Dice")
    name_numbers(axes, "Dice %")
    assert not any(spine.get_visible() for spine in axes.spines.values())
    assert axes.get_xlabel() == "Dice %"
