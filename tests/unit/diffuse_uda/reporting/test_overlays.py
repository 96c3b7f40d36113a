import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from diffuse_uda.reporting.overlays import render_case
from diffuse_uda.reporting.views import CaseView

LABEL_NAMES = ("background", "shell", "core")


def _pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_a_case_has_a_column_for_scan_reference_and_every_method(make_case: Callable[..., CaseView]) -> None:
    content = render_case(make_case(), LABEL_NAMES)
    assert content.startswith(b"\x89PNG")
    with_reference = _pixels(content).shape[1]
    without = _pixels(render_case(replace(make_case(), reference=None), LABEL_NAMES)).shape[1]
    scan_alone = _pixels(render_case(replace(make_case(), reference=None, predictions={}), LABEL_NAMES)).shape[1]
    assert (with_reference, without, scan_alone) == (4 * 214 + 4, 3 * 214 + 4, 214 + 4)


def test_the_same_case_gives_the_same_bytes_and_stays_small(make_case: Callable[..., CaseView]) -> None:
    first = render_case(make_case(dice=None), LABEL_NAMES)
    assert first == render_case(make_case(dice=None), LABEL_NAMES)
    assert first != render_case(make_case(dice=0.5), LABEL_NAMES)
    assert len(first) < 300_000
