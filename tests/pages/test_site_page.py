"""A site's page in a real browser: pictures, keys, verdicts, phone, print."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from diffuse_uda.data.volumes import load_volume
from diffuse_uda.review.site_report import MANIFEST, WrittenReport, write_site_report
from diffuse_uda.review.verdicts import Choice, read_verdicts
from tests.browser import Page
from tests.review_cases import six_cases

pytestmark = pytest.mark.browser

SHOWN = "document.documentElement.dataset.shown"
CURRENT = "document.querySelector('[aria-current=true]')?.closest('li').dataset.case"
ORDER = "[...document.querySelectorAll('#cases li')].filter(li => !li.hidden).map(li => li.dataset.case)"
KEY = "'diffuse-uda/verdicts/' + JSON.parse(document.getElementById('facts').textContent).report"
KEPT = f"JSON.parse(localStorage.getItem({KEY}))"
PROGRESS = "document.getElementById('progress').textContent"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    return write_site_report(six_cases(tmp_path_factory.mktemp("review")), None)


@pytest.fixture
def opened(page: Page, report: WrittenReport) -> Page:
    page.open(report.pages[0])
    page.run("localStorage.clear()")
    page.reload()
    page.until(f"{SHOWN} !== undefined")
    return page


def _go(page: Page, key: str, case: str) -> None:
    page.press(key)
    page.until(f"{SHOWN} === {json.dumps(case)}")


def test_it_loads_from_a_file_without_a_word_and_every_picture_is_there(opened: Page) -> None:
    decoded = """(async () => {
        const small = [...document.querySelectorAll('img')].map(img => img.decode().then(() => img.naturalWidth));
        const sheets = [...document.querySelectorAll('script[data-sheets]')].flatMap(script =>
            Object.values(JSON.parse(script.textContent).planes).flatMap(plane =>
                [plane.scan, ...Object.values(plane.found), ...Object.values(plane.drawn)]));
        const large = sheets.map(async address => {
            const img = new Image(); img.src = address; await img.decode(); return img.naturalWidth; });
        return Promise.all([...small, ...large]);
    })()"""
    widths = opened.run(decoded)
    # Six small pictures; of every case three scans and two structures in three planes; of one the reference as well.
    assert len(widths) == 6 + 6 * 3 * (1 + 2) + 3 * 2
    assert min(widths) > 0
    assert opened.complaints() == []


def test_what_is_drawn_is_what_lies_on_the_disk(opened: Page, report: WrittenReport) -> None:
    case = opened.run(CURRENT)
    manifest = json.loads((report.pages[0].parent / MANIFEST).read_text(encoding="utf-8"))
    found = load_volume(report.pages[0].parent / manifest["cases"][case]["prediction"]).voxels
    opened.run("document.getElementById('cross').click(); document.getElementById('opacity').value = 100")
    opened.run("document.getElementById('opacity').dispatchEvent(new Event('input', {bubbles: true}))")
    counted = opened.run("""(() => {
        const canvas = document.querySelector('[data-plane=axial] canvas.colour');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let inside = 0;
        for (let place = 3; place < pixels.length; place += 4) inside += pixels[place] > 127 ? 1 : 0;
        return inside / (canvas.width * canvas.height);
    })()""")
    words = opened.run("document.querySelector('[data-plane=axial] output').textContent")
    index = int(words.split()[1]) - 1
    box = json.loads(opened.run(f"document.querySelector('script[data-sheets={case}]').textContent"))["box"]
    shown = found[slice(*box[0]), slice(*box[1]), index]
    assert counted == pytest.approx(np.count_nonzero(shown) / shown.size, abs=0.02)


def test_the_keyboard_alone_moves_accepts_rejects_and_takes_back(opened: Page) -> None:
    first, second, third, *_ = order = opened.run(ORDER)
    assert opened.run(CURRENT) == first
    _go(opened, "j", second)
    _go(opened, "ArrowRight", third)
    _go(opened, "k", second)
    _go(opened, "ArrowLeft", first)
    _go(opened, "a", second)  # a verdict goes on to the next case
    _go(opened, "r", third)
    assert [(event["case"], event["verdict"]) for event in opened.run(KEPT)] == [(first, "accept"), (second, "reject")]
    assert "2 of 6 cases judged: 1 accepted, 1 rejected" in opened.run(
        "document.getElementById('progress').textContent"
    )
    _go(opened, "u", second)
    assert [event["case"] for event in opened.run(KEPT)] == [first]
    assert len(order) == 6
    assert opened.complaints() == []


def test_verdicts_outlive_a_reload_and_come_back_through_the_command(
    opened: Page, report: WrittenReport, tmp_path: Path
) -> None:
    first, second, third, *_ = opened.run(ORDER)
    _go(opened, "a", second)
    _go(opened, "r", third)
    _go(opened, "k", second)
    _go(opened, "a", third)  # somebody has changed their mind
    opened.reload()
    opened.until(f"{SHOWN} !== undefined")
    assert opened.run("document.querySelectorAll('.mark.accept').length") == 2
    opened.run("document.getElementById('save').click()")
    deadline = time.monotonic() + 60
    while not (files := list(tmp_path.glob("verdicts-*.json"))):
        assert time.monotonic() < deadline, "nothing was saved"
        time.sleep(0.1)
    found = read_verdicts(files[0], report.pages[0].parent)
    assert found.of(Choice.ACCEPT) == [first, second]
    assert len(found.open) == 4


def test_what_a_page_finds_in_its_storage_is_not_believed(opened: Page) -> None:
    key = opened.run(KEY)
    for nonsense in ("{", "5", '[{"case": 1, "verdict": "accept", "at": "x"}, {"case": "a", "verdict": "maybe"}]'):
        opened.run(f"localStorage.setItem({json.dumps(key)}, {json.dumps(nonsense)})")
        opened.reload()
        opened.until(f"{SHOWN} !== undefined")
        assert "0 of 6" in opened.run(PROGRESS)
        _go(opened, "j", opened.run(ORDER)[1])
    assert opened.complaints() == []


def test_order_and_filter_change_what_the_keys_walk_through(opened: Page) -> None:
    worst, *_ = opened.run(ORDER)
    opened.run("document.getElementById('order').value = 'name'")
    opened.run("document.getElementById('order').dispatchEvent(new Event('change', {bubbles: true}))")
    assert opened.run(ORDER) == sorted(opened.run(ORDER))
    assert opened.run(CURRENT) == worst
    opened.run("document.querySelector('[data-case=case0] button').click()")
    opened.until(f"{SHOWN} === 'case0'")
    _go(opened, "a", "case1")
    opened.run("document.getElementById('filter').value = 'open'")
    opened.run("document.getElementById('filter').dispatchEvent(new Event('change', {bubbles: true}))")
    assert "case0" not in opened.run(ORDER)


def test_slices_structures_and_overlay_follow_keys_and_clicks(opened: Page) -> None:
    slice_of = "Number(document.querySelector('[data-plane={}] input').value)"
    before = opened.run(slice_of.format("axial"))
    opened.press(".")
    assert opened.run(slice_of.format("axial")) == before + 1
    opened.press(",")
    assert opened.run(slice_of.format("axial")) == before
    opened.press("1")
    assert opened.run("document.querySelector('[data-structure=\"1\"]').checked") is False
    opened.press("o")
    assert opened.run("document.getElementById('opacity').value") == "0"
    opened.press("o")
    assert opened.run("document.getElementById('opacity').value") == "45"
    # A click at the right edge of the axial slice is at the patient's left: the first sagittal slices.
    opened.run("""(() => {
        const stage = document.querySelector('[data-plane=axial] .stage'), frame = stage.getBoundingClientRect();
        const place = { clientX: frame.right - 1, clientY: frame.top + 1, bubbles: true };
        stage.dispatchEvent(new MouseEvent('click', place));
    })()""")
    assert opened.run(slice_of.format("sagittal")) == 0
    assert opened.run(slice_of.format("coronal")) == opened.run(
        "Number(document.querySelector('[data-plane=coronal] input').max)"
    )


def test_everything_that_can_be_done_can_be_reached_by_tab(opened: Page) -> None:
    _go(opened, "a", opened.run(ORDER)[1])  # before the first verdict there is nothing to take back
    reached = set()
    for _ in range(60):
        opened.press("Tab")
        reached.add(opened.run("document.activeElement.id || document.activeElement.className"))
    assert {"order", "filter", "case", "accept", "reject", "undo", "next", "opacity", "outline", "save"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_scrolls_sideways(opened: Page, width: int, scheme: str) -> None:
    opened.use_scheme(scheme)
    opened.resize(width, 740, is_mobile=width < 700)
    opened.until(f"innerWidth === {width}")
    assert opened.run("document.documentElement.scrollWidth") <= width
    colour = opened.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) < 200) == (scheme == "dark")


def test_it_prints(opened: Page) -> None:
    printed = opened.pdf()
    assert printed.startswith(b"%PDF")
    assert opened.complaints() == []
