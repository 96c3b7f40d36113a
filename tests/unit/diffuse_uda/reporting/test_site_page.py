"""A site's page as text; what a browser makes of it is tested in `tests/browser`."""

import json
import re

import numpy as np

from diffuse_uda.data.volumes import Volume
from diffuse_uda.reporting.case_sheets import case_sheets
from diffuse_uda.reporting.site_page import (
    CaseLine,
    EncodedCase,
    PagePlace,
    SiteReport,
    StructureLine,
    encode_case,
    render_site_page,
)
from diffuse_uda.reporting.templating import page_script

NASTY = "</script><script>alert(1)</script>"


def _case(case_id: str, suspicion: float = 0.5, dice: float | None = None) -> EncodedCase:
    voxels = np.zeros((8, 8, 8), np.float32)
    voxels[2:6, 2:6, 2:6] = 1.0
    row = StructureLine(
        label=1,
        name="core",
        volume_ml=64.0,
        oddness=None,
        confidence=0.9,
        entropy=0.1,
        agreement=0.95,
        num_islands=0,
        dice=dice,
    )
    line = CaseLine(
        case_id=case_id,
        suspicion=suspicion,
        signs={"entropy": 0.1, "unusual volume": None},
        structures=[row],
        flags=["core: 64.0 ml, unusually larger than in the other cases"],
        dice=dice,
    )
    sheets = case_sheets(Volume(voxels=voxels, affine_mm=np.eye(4)), (voxels > 0).astype(np.uint8))
    return encode_case(line, sheets)


def _report(**changes: object) -> SiteReport:
    values: dict[str, object] = {
        "title": "our scans",
        "report": "0123456789abcdef",
        "label_names": ["background", "core"],
        "num_cases": 2,
    }
    return SiteReport(**{**values, **changes})  # type: ignore[arg-type]


def test_equal_inputs_give_equal_text() -> None:
    assert render_site_page(_report(), [_case("a")]) == render_site_page(_report(), [_case("a")])


def test_nothing_on_the_page_has_an_address_elsewhere() -> None:
    html = render_site_page(_report(), [_case("a")])
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)
    assert "http://" not in html
    assert "https://" not in html
    assert "default-src 'none'" in html


def test_the_only_script_that_may_run_is_the_page_s_own() -> None:
    html = render_site_page(_report(), [_case("a")])
    assert f"script-src {page_script('site.js').policy}".replace("'", "&#39;") in html.replace("'", "&#39;")
    assert "unsafe-eval" not in html
    assert html.count("<script>") == 1


def test_names_from_files_stay_text() -> None:
    case = _case(NASTY)
    html = render_site_page(_report(title=NASTY, label_names=["background", NASTY]), [case])
    assert "alert(1)</script>" not in html.replace(page_script("site.js").text, "")
    assert html.count("<script>") == 1
    facts = re.search(r'id="facts">(.*?)</script>', html)
    assert facts is not None
    assert json.loads(facts[1])["labels"][1] == NASTY


def test_it_says_in_words_that_these_numbers_are_no_dice() -> None:
    html = render_site_page(_report(), [_case("a")])
    assert "None of these numbers is a Dice" in html
    assert "nobody has checked this order" in html
    checked = render_site_page(_report(num_scored=6, correlation=-0.5), [_case("a", dice=0.5)])
    assert "\N{MINUS SIGN}0.50" in checked


def test_scores_appear_only_where_there_are_references() -> None:
    assert "HD95" not in render_site_page(_report(), [_case("a")])
    assert "HD95" in render_site_page(_report(), [_case("a", dice=0.5)])


def test_pages_of_one_report_know_their_neighbours() -> None:
    place = PagePlace(number=2, first=4, previous="report.html", following="report-3.html")
    html = render_site_page(_report(num_cases=9), [_case("a"), _case("b")], place)
    assert "cases 4 to 5 of 9" in html
    assert 'href="report.html"' in html
    assert 'href="report-3.html"' in html


def test_what_was_left_out_is_told_with_its_reason() -> None:
    assert "zero bytes" in render_site_page(_report(left_out=[("case7", "zero bytes")]), [_case("a")])
