"""What every chart has in common: quiet axes, names of rows at the side, a line that explains the marks."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffuse_uda.reporting.canvas import plain_text

INK = "#1F2933"
FAINT_INK = "#6B7280"
GRID = "#D5DBE3"

_FONT_SIZE = 9
_CHARACTERS_PER_IN = 14


def dress_axes(axes: Axes, *, title: str) -> None:
    """Give a panel its title and a grid, and take its frame away."""
    axes.set_title(plain_text(title), fontsize=_FONT_SIZE, color=INK, loc="left", weight="bold")
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names at the left, the first on top, and let no grid line cross the rows."""
    axes.set_yticks(range(len(names)), [plain_text(name) for name in names], fontsize=_FONT_SIZE)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def name_numbers(axes: Axes, label: str) -> None:
    """Say what the numbers at the bottom are."""
    axes.set_xlabel(label, color=INK, fontsize=_FONT_SIZE)


def explain_marks(figure: Figure, text: str) -> None:
    """Write under a figure what its marks mean, in as many lines as its width asks for."""
    width_in, _ = figure.get_size_inches()
    figure.supxlabel(
        fill(text, round(_CHARACTERS_PER_IN * width_in), break_on_hyphens=False), fontsize=8, color=FAINT_INK
    )
