"""Named places that a run passes, for whoever wants to know what happens if it ends just there.

A crash test sets a visitor that kills the process; nothing else does. Code that passes a landmark does not know and
does not care whether anybody is looking: without a visitor it costs one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Landmark(StrEnum):
    """Every place, in the order in which a round passes them; the first seven are the coordinator's."""

    BEFORE_BROADCAST = "before-broadcast"
    """The round is planned, no order is out."""
    MID_GATHER = "mid-gather"
    """A reply is accepted, others may be missing."""
    MID_AGGREGATE = "mid-aggregate"
    """The average is computed, the model is not replaced everywhere."""
    MID_CHECKPOINT = "mid-checkpoint"
    """A model of the round is on disk, but not all that belongs to the checkpoint."""
    BEFORE_COMMIT = "before-commit"
    """The checkpoint is whole, the journal does not know it yet."""
    AFTER_COMMIT = "after-commit"
    """The journal has the round; `latest`, history and scores do not."""
    BEFORE_END = "before-end"
    """The journal says that the run is finished; `end.json` does not."""
    PSEUDO_LABEL = "pseudo-label"
    """A site is about to keep its pseudo-labels."""
    DIFFUSION_STEP = "diffusion-step"
    """A site is in a step of the denoiser."""
    SEGMENTATION_STEP = "segmentation-step"
    """A site has taken a step of the segmenter."""
    SYNTHESIS = "synthesis"
    """A site has rendered a batch of pairs."""
    MID_SITE_COMMIT = "mid-site-commit"
    """A site's work is done and partly written down."""
    UPLOAD = "upload"
    """A site's work is written down, its reply has not left."""


Visitor = Callable[[Landmark], None]


class _Road:
    """Who is looking, in this process."""

    visitor: Visitor | None = None


def passing(landmark: Landmark) -> None:
    """Say that a place is reached."""
    if _Road.visitor is not None:
        _Road.visitor(landmark)


@contextmanager
def watched_by(visitor: Visitor) -> Iterator[None]:
    """Call `visitor` at every landmark that any thread of this process passes; one visitor at a time."""
    before, _Road.visitor = _Road.visitor, visitor
    try:
        yield
    finally:
        _Road.visitor = before
