"""One headless Chromium for all tests of pages; where there is none, they are left out and say so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, Page, find_chromium, opened_browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: install the package chromium (or google-chrome) to test pages")
    with opened_browser(program, tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A tab of its own, of the size of a desk's screen; what the test before has kept is forgotten."""
    tab = Page(browser)
    tab.resize(1280, 860)
    tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    yield tab
    browser.call("Target.closeTarget", targetId=tab.target)
