import io
from collections.abc import Callable

import pytest
from PIL import Image

from diffuse_uda.reporting.results import Results
from diffuse_uda.reporting.study_effect_charts import render_ablations, render_gap_closed
from diffuse_uda.reporting.study_results import build_study_results
from diffuse_uda.reporting.study_runs import StudyRun

MakeRun = Callable[..., StudyRun]
LARGEST = 150_000


@pytest.mark.parametrize("render", [render_gap_closed, render_ablations])
def test_a_picture_is_a_small_png_that_is_the_same_every_time(
    render: Callable[[Results], bytes], study: Results
) -> None:
    content = render(study)
    assert Image.open(io.BytesIO(content)).format == "PNG"
    assert len(content) < LARGEST
    assert content == render(study)


def test_a_row_has_a_bar_if_it_has_a_share(study: Results) -> None:
    both = Image.open(io.BytesIO(render_gap_closed(study))).height
    study["summary"]["asc-plus"]["gap_closed_mean"] = None
    assert Image.open(io.BytesIO(render_gap_closed(study))).height < both


def test_targets_without_a_share_have_no_mark(study: Results) -> None:
    complete = render_gap_closed(study)
    study["targets"]["hull"]["asc-plus"]["gap_closed"] = None
    assert render_gap_closed(study) != complete


def test_harm_and_gain_have_different_colours_and_one_patient_has_no_bar(make_run: MakeRun) -> None:
    dice = {"asc": [0.5], "asc--no-fda": [0.4], "asc--no-cutmix": [0.6]}
    results = build_study_results([make_run(0, {"leeds": dice})], part="all")
    colours = Image.open(io.BytesIO(render_ablations(results))).convert("RGB").getcolors(1 << 20) or []
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= {colour for _, colour in colours}


def test_without_a_reference_or_without_ablations_there_is_nothing_to_draw(make_run: MakeRun) -> None:
    results = build_study_results([make_run(0, {"leeds": {"asc": [0.5], "asc-plus": [0.6]}})], part="test")
    with pytest.raises(ValueError, match="no row has a share of the gap"):
        render_gap_closed(results)
    with pytest.raises(ValueError, match="no ablation shares a patient"):
        render_ablations(results)
