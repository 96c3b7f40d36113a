import io

import numpy as np
import pytest
from PIL import Image

from diffuse_uda.reporting.pairs import render_pairs
from diffuse_uda.reporting.views import PairsOfTarget, PairView

LABEL_NAMES = ("background", "shell", "core")


def _width(content: bytes) -> int:
    return Image.open(io.BytesIO(content)).size[0]


def test_real_scans_stand_beside_synthetic_pairs(pair: PairView) -> None:
    scan = PairView(image=pair.image, label_map=None)
    both = render_pairs(PairsOfTarget(site_id="leeds", real=(scan, pair), synthetic=(pair,)), LABEL_NAMES)
    alone = render_pairs(PairsOfTarget(site_id="leeds", real=(), synthetic=(pair,)), LABEL_NAMES)
    assert both.startswith(b"\x89PNG")
    assert _width(both) == 3 * 174 + 4 + 26
    assert _width(alone) == 174 + 4


def test_an_unlabelled_scan_gets_no_colour(pair: PairView) -> None:
    scan = PairView(image=pair.image, label_map=None)
    content = render_pairs(PairsOfTarget(site_id="leeds", real=(scan,), synthetic=()), ("background",))
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() <= 12


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="leeds"):
        render_pairs(PairsOfTarget(site_id="leeds", real=(), synthetic=()), LABEL_NAMES)
