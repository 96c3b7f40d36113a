import io
from collections.abc import Callable

import pytest
from PIL import Image

from diffuse_uda.reporting.results import Results
from diffuse_uda.reporting.study_charts import render_ladder, render_structures
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import StudyRun

MakeRun = Callable[..., StudyRun]
Render = Callable[[Results], bytes]
LARGEST = 150_000


@pytest.mark.parametrize("render", [render_ladder, render_structures])
def test_a_picture_is_a_small_png_that_is_the_same_every_time(render: Render, study: Results) -> None:
    content = render(study)
    assert Image.open(io.BytesIO(content)).format == "PNG"
    assert len(content) < LARGEST
    assert content == render(study)


@pytest.mark.parametrize("render", [render_ladder, render_structures])
def test_every_target_has_a_panel(render: Render, study: Results, make_run: MakeRun) -> None:
    one = build_study_results([make_run(0, {"leeds": {"source-only": [0.5], "asc": [0.6]}})], part="test")
    narrow, wide = (Image.open(io.BytesIO(render(results))).width for results in (one, study))
    assert narrow < wide


def test_a_dot_moves_with_its_patient(make_run: MakeRun) -> None:
    first, second = (
        render_ladder(build_study_results([make_run(0, {"leeds": {"asc": [0.5 - x, 0.5 + x]}})], part="test"))
        for x in (0.1, 0.2)
    )
    assert first != second


def test_rows_and_structures_that_a_target_lacks_leave_a_hole(study: Results) -> None:
    del study["targets"]["hull"]["asc-plus"]
    del study["targets"]["hull"]["source-only"]["structures"]["core"]
    assert render_ladder(study)
    assert render_structures(study)


@pytest.mark.parametrize("render", [render_ladder, render_structures])
def test_a_study_without_scores_is_refused(render: Render) -> None:
    with pytest.raises(ValueError, match="no target has a score"):
        render(build_study_results([], part="test"))
