"""What a centre may say about how its folder is checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeOptions:
    """Choices of whoever runs the gate; none of them lets a broken file pass."""

    follow_links: bool = False
    """Whether links may lead out of the centre's folder."""
    demands_foreground: bool = False
    """Whether a label map without any structure takes its case out, instead of a warning."""
    with_pictures: bool = False
    """Whether a small picture of every scan is made on the way."""
