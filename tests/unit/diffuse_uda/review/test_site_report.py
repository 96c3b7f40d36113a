"""From scans to pages and a manifest, with segmentations that are there already."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.algorithms import label_free_quality
from diffuse_uda.errors import ConfigError, InputError
from diffuse_uda.review import measuring, site_report
from diffuse_uda.review.scans import ReviewScan
from diffuse_uda.review.site_report import MANIFEST, ReviewPlan, write_site_report
from tests.review_cases import ellipsoid, six_cases, write_volume


@pytest.fixture
def plan(tmp_path: Path) -> ReviewPlan:
    return six_cases(tmp_path)


def _manifest(plan: ReviewPlan) -> dict[str, dict[str, dict[str, object]]]:
    read: dict[str, dict[str, dict[str, object]]] = json.loads((plan.out / MANIFEST).read_text(encoding="utf-8"))
    return read


def _cases(page: Path) -> list[str]:
    return re.findall(r'<li data-case="([^"]+)"', page.read_text(encoding="utf-8"))


def test_the_worst_case_comes_first_and_the_rest_in_an_order_that_is_no_accident(plan: ReviewPlan) -> None:
    written = write_site_report(plan, None)
    order = _cases(written.pages[0])
    # case5 is the odd one by volume, case0 has the only island; the others' volumes grow from case1 to case4.
    assert order[:2] in (["case5", "case0"], ["case0", "case5"])
    assert sorted(order) == [f"case{number}" for number in range(6)]
    assert list(_manifest(plan)["cases"]) == order
    before = written.pages[0].read_bytes()
    write_site_report(replace(plan, scans=plan.scans[::-1]), None)
    assert written.pages[0].read_bytes() == before


def test_numbers_are_those_of_the_label_map(plan: ReviewPlan) -> None:
    write_site_report(plan, None)
    shell = _manifest(plan)["cases"]["case0"]["structures"]["shell"]  # type: ignore[index]
    voxels = np.count_nonzero(ellipsoid(0.7) == 1) + 1
    assert shell["volume_ml"] == pytest.approx(0.01 * voxels)
    assert shell["num_islands"] == 1
    assert (shell["confidence"], shell["agreement"]) == (None, None)  # no model has been asked


def test_a_reference_gives_a_score_and_no_place(plan: ReviewPlan) -> None:
    write_site_report(plan, None)
    with_reference = _manifest(plan)["cases"]
    assert 0.5 < with_reference["case0"]["dice"] < 1.0  # type: ignore[operator]
    without = replace(plan, scans=[replace(scan, reference=None) for scan in plan.scans])
    write_site_report(without, None)
    assert {name: case["suspicion"] for name, case in _manifest(plan)["cases"].items()} == {
        name: case["suspicion"] for name, case in with_reference.items()
    }


def test_an_unusual_volume_is_a_reason_to_look(plan: ReviewPlan) -> None:
    page = write_site_report(plan, None).pages[0].read_text(encoding="utf-8")
    assert "unusually larger than in the other cases" in page


def test_a_case_that_cannot_be_used_is_left_out_with_its_reason(plan: ReviewPlan) -> None:
    plan.scans[2].image.write_bytes(b"")
    other_grid = ReviewScan(
        case_id="case9",
        image=plan.scans[0].image,
        prediction=write_volume(plan.out.parent / "found" / "case9.nii.gz", ellipsoid(0.7)[1:]),
    )
    written = write_site_report(replace(plan, scans=[*plan.scans, other_grid]), None)
    assert [case for case, _ in written.left_out] == ["case2", "case9"]
    assert written.num_cases == 5
    page = written.pages[0].read_text(encoding="utf-8")
    assert "[empty-file]" in page
    assert "case9" not in _cases(written.pages[0])


def test_a_segmentation_with_a_label_that_has_no_name_is_left_out(plan: ReviewPlan) -> None:
    found = np.minimum(ellipsoid(0.7), 1)
    assert plan.scans[1].prediction is not None
    write_volume(plan.scans[1].prediction, found)
    written = write_site_report(replace(plan, label_names=("background", "shell")), None)
    assert (written.num_cases, len(written.left_out)) == (1, 5)
    assert "labels from 0 to 2" in written.left_out[0][1]


def test_without_any_usable_case_there_is_no_report(plan: ReviewPlan) -> None:
    for scan in plan.scans:
        scan.image.write_bytes(b"")
    with pytest.raises(InputError, match="empty-file"):
        write_site_report(plan, None)
    assert not (plan.out / MANIFEST).exists()


def test_a_page_that_would_get_too_large_is_followed_by_another(plan: ReviewPlan) -> None:
    whole = write_site_report(plan, None)
    order = _cases(whole.pages[0])
    several = write_site_report(replace(plan, max_page_bytes=60_000), None)
    assert len(several.pages) > 1
    assert [case for page in several.pages for case in _cases(page)] == order
    texts = [page.read_text(encoding="utf-8") for page in several.pages]
    assert 'href="report-2.html" rel="next"' in texts[0]
    assert 'rel="prev"' in texts[-1]
    assert 'rel="next"' not in texts[-1]
    # Made whole again, it leaves none of the further pages behind.
    write_site_report(plan, None)
    assert [path.name for path in plan.out.glob("*.html")] == ["report.html"]


def test_a_case_that_fits_no_page_is_refused_with_what_to_do(plan: ReviewPlan) -> None:
    with pytest.raises(ConfigError, match=r"--max-mb.*--slices"):
        write_site_report(replace(plan, max_page_bytes=1000), None)


def test_everything_is_for_this_account_alone(plan: ReviewPlan) -> None:
    write_site_report(plan, None)
    assert plan.out.stat().st_mode & 0o77 == 0
    assert all(path.stat().st_mode & 0o77 == 0 for path in plan.out.rglob("*"))


def test_no_report_among_scans_or_among_other_files(plan: ReviewPlan) -> None:
    with pytest.raises(ConfigError, match="among the scans"):
        write_site_report(replace(plan, out=plan.scans[0].image.parent), None)
    with pytest.raises(ConfigError, match="not empty"):
        write_site_report(replace(plan, out=plan.out.parent / "found"), None)


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    counted: list[int] = []
    count = label_free_quality.num_islands

    def counting(label_map: np.ndarray, label: int) -> int:
        counted.append(label)
        return count(label_map, label)

    monkeypatch.setattr(measuring, "num_islands", counting)
    return counted  # type: ignore[return-value]


def test_what_was_measured_is_measured_again_only_if_something_changed(
    plan: ReviewPlan, measurements: list[int]
) -> None:
    first = write_site_report(plan, None)
    assert len(measurements) == 12  # two structures of six cases
    name = _manifest(plan)["report"]
    write_site_report(plan, None)
    assert len(measurements) == 12
    changed = plan.scans[1].prediction
    assert changed is not None
    write_volume(changed, ellipsoid(0.5))
    write_site_report(plan, None)
    assert len(measurements) == 14
    assert _manifest(plan)["report"] != name  # verdicts on the report before do not fit any more
    (plan.out / "measures" / "case3.json").write_text("half a li", encoding="utf-8")
    write_site_report(plan, None)
    assert len(measurements) == 16
    assert first.num_cases == 6


def test_the_manifest_names_the_sums_of_what_is_shown(plan: ReviewPlan) -> None:
    write_site_report(plan, None)
    for case in _manifest(plan)["cases"].values():
        assert case["sha256"] == measuring.sha256_of(plan.out / str(case["prediction"]))


def test_pages_are_filled_without_holding_more_than_one(plan: ReviewPlan) -> None:
    class Case:
        def __init__(self, size: int) -> None:
            self.num_bytes = size

    cases = map(Case, [30, 30, 30, 50, 90])
    pages = [
        ([case.num_bytes for case in page], is_last)
        for page, is_last in site_report._paged(cases, 90)  # type: ignore[arg-type]
    ]
    assert pages == [([30, 30, 30], False), ([50], False), ([90], True)]
