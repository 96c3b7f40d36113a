"""The grammar of a Markdown section: title, caption, table."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_lines(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Write a table; the first column is text, the others are aligned to the right.

    Raises:
        ValueError: If a line has not one cell for every column.
    """
    rule = [" --- ", *(" ---: " for _ in header[1:])]
    return [_line(header), f"|{'|'.join(rule)}|", *(_line(cells, len(header)) for cells in lines)]


def _line(cells: Sequence[str], width: int | None = None) -> str:
    if width is not None and len(cells) != width:
        msg = f"a line of {len(cells)} cells in a table of {width} columns: {list(cells)}"
        raise ValueError(msg)
    # A name with a bar in it would open a column of its own.
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def section(title: str, table: Sequence[str], caption: Sequence[str]) -> str:
    """Put a title over a table and its caption's sentences under it; empty sentences are left out."""
    return "\n".join([f"## {title}", "", *table, "", " ".join(sentence for sentence in caption if sentence), ""])
