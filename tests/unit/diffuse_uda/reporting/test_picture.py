import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from diffuse_uda.reporting.picture import render_picture
from diffuse_uda.reporting.views import CaseView, PairView

LABEL_NAMES = ("background", "shell", "core")
MakeCase = Callable[..., CaseView]


def test_the_picture_is_wide_small_and_the_same_every_time(make_case: MakeCase, pair: PairView) -> None:
    cases = [make_case(site_id="leeds"), replace(make_case(site_id="hull"), reference=None, dice={})]
    content = render_picture(cases, {"leeds": pair}, LABEL_NAMES)
    assert content.startswith(b"\x89PNG")
    assert Image.open(io.BytesIO(content)).size == (1600, 700)
    assert len(content) < 400_000
    assert content == render_picture(cases, {"leeds": pair}, LABEL_NAMES)


def test_scans_without_predictions_and_pairs_still_make_a_picture(make_case: MakeCase) -> None:
    bare = replace(make_case(), reference=None, predictions={})
    assert Image.open(io.BytesIO(render_picture([bare], {}, LABEL_NAMES))).size == (1600, 700)


def test_a_picture_without_a_case_is_refused() -> None:
    with pytest.raises(ValueError, match="one case"):
        render_picture([], {}, LABEL_NAMES)
