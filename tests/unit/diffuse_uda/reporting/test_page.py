import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from diffuse_uda.reporting import page
from diffuse_uda.reporting.page import PolicyListing, ReportInputs, render_report, worst_of_every_target, write_report
from diffuse_uda.reporting.results import Results, build_results
from diffuse_uda.reporting.scores import SiteScores
from diffuse_uda.reporting.views import CaseView

VOID = {"meta", "img", "br"}


class _Page(HTMLParser):
    """Collects what a test asks about, and checks that every element is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.images_without_alt = 0
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.addresses += [values[name] or "" for name in ("src", "href", "srcset", "action") if name in values]
        self.images_without_alt += tag == "img" and not values.get("alt")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture
def no_figures(report_inputs: ReportInputs) -> ReportInputs:
    """The same page without what takes long to draw."""
    return replace(report_inputs, cases=[], pairs=[], history=[])


def test_the_page_is_well_formed_and_complete(report_inputs: ReportInputs) -> None:
    html = render_report(report_inputs)
    parsed = _Page(html)
    assert parsed.images_without_alt == 0
    assert len([address for address in parsed.addresses if address.startswith("data:image/png")]) == 3
    assert len([address for address in parsed.addresses if address.startswith("data:image/svg+xml")]) == 2
    assert '<html lang="en">' in html
    assert html.index("leeds, bad") < html.index("leeds, good")
    assert len(html) < 5_000_000


def test_the_same_inputs_give_the_same_page(no_figures: ReportInputs) -> None:
    assert render_report(no_figures) == render_report(no_figures)


def test_the_page_loads_nothing(no_figures: ReportInputs) -> None:
    html = render_report(no_figures)
    parsed = _Page(html)
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & parsed.tags
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html


def test_every_number_of_the_table_is_that_of_the_results(no_figures: ReportInputs, results: Results) -> None:
    html = render_report(no_figures)
    table = _Page(html).tables[0]
    for line, (site_id, rows) in zip(table[2:], results["targets"].items(), strict=False):
        wanted = [
            text for row in results["rows"] for text in (f"{rows[row]['dice']:.3f}", f"{rows[row]['hd95_mm']:.1f}")
        ]
        assert line == [site_id, *wanted, f"{rows['diffuse-uda']['gap_closed']:.0%}"]
    summary = results["summary"]
    wanted = [
        text
        for row in results["rows"]
        for text in (f"{summary[row]['dice_mean']:.3f}", f"{summary[row]['hd95_mm_mean']:.1f}")
    ]
    assert table[-1] == ["Mean of targets", *wanted, "50%"]
    for rows in results["targets"].values():
        assert all(f'data-value="{line["dice"]}"' in html for line in rows.values())


def test_every_structure_is_listed_with_its_own_numbers(no_figures: ReportInputs) -> None:
    structures = _Page(render_report(no_figures)).tables[2]
    assert structures[2] == ["shell", "0.200", "8.0", "0.400", "6.0", "0.500", "5.0", "0.800", "2.0"]
    assert structures[3][0] == "core"


def test_bytes_and_policy_are_listed(no_figures: ReportInputs) -> None:
    html = render_report(no_figures)
    exchanged = _Page(html).tables[4]
    assert exchanged[1:] == [
        ["adapt", "2", "7", "4 kB", "3.6 kB"],
        ["evaluate-asc-plus", "1", "7", "1 kB", "20 B"],
        ["All phases", "", "", "5 kB", "3.62 kB"],
    ]
    assert "No voxel left its site." in html
    assert "stem.weight" in html
    assert "amplitude block" not in html
    policy = PolicyListing(tensors={"segmenter": ["w"], "denoiser": ["v"]}, scalars=[], style_blocks=True)
    assert "one mean amplitude block" in render_report(replace(no_figures, policy=policy))


def test_names_from_other_people_are_text_and_never_markup(
    make_sites: Callable[..., list[SiteScores]], no_figures: ReportInputs
) -> None:
    hostile = '<script>alert("x")</script>'
    table = {hostile: {"source-only": 0.4, "diffuse-uda": 0.6}}
    results = build_results(make_sites(table), seeds=[0], exchange={}, measured={})
    html = render_report(replace(no_figures, title=hostile, results=results, config={hostile: hostile}))
    assert "script" not in _Page(html).tags
    assert "&lt;script&gt;" in html


def test_times_and_machine_are_shown(no_figures: ReportInputs) -> None:
    html = render_report(no_figures)
    for text in ("1 min 15 s", "4.0 s", "1 h 02 min", "2.12", "adapt.num-rounds"):
        assert text in html


def test_a_run_that_scored_nothing_still_makes_an_honest_page(
    make_sites: Callable[..., list[SiteScores]], no_figures: ReportInputs
) -> None:
    for sites in ([], make_sites({"leeds": {}}), make_sites({"leeds": {"asc": 0.5}, "hull": {}})):
        results = build_results(sites, seeds=[0], exchange={}, measured={})
        html = render_report(replace(no_figures, results=results))
        _Page(html)
        assert "Not measured" in html


def test_missing_distances_are_counted_in_the_cell(no_figures: ReportInputs, results: Results) -> None:
    results["targets"]["leeds"]["diffuse-uda"] |= {"hd95_mm": None, "hd95_undefined": 4}
    results["targets"]["leeds"]["diffuse-uda"]["structures"]["core"] |= {"hd95_mm": None, "undefined": 2}
    del results["targets"]["hull"]["asc-plus"]["structures"]["core"]
    cells = [cell for table in _Page(render_report(no_figures)).tables for line in table for cell in line]
    assert "\N{EN DASH} (4 n/d)" in cells
    assert "\N{EN DASH} (2 n/d)" in cells


def test_figures_stop_when_the_page_would_grow_too_large(
    report_inputs: ReportInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MAX_FIGURE_BYTES", 1)
    assert len([a for a in _Page(render_report(report_inputs)).addresses if "png" in a[:20]]) == 1


def test_every_target_s_worst_case_is_shown_before_anybody_s_second(make_case: Callable[..., CaseView]) -> None:
    cases = [make_case(f"hull{i}", "hull", dice=0.1 * i) for i in range(5)] + [make_case("leeds0", "leeds", dice=0.9)]
    assert [case.case_id for case in worst_of_every_target(cases, max_cases=3)] == ["hull0", "hull1", "leeds0"]


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "<p>ä</p>")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "<p>ä</p>"
    assert len(list(tmp_path.iterdir())) == 1
