"""The federation's page and the report of a simulation in a real browser."""

from pathlib import Path

import pytest

from diffuse_uda.reporting.federation_page import FederationFacts, Participant, render_federation_page
from diffuse_uda.reporting.history_view import RoundRecord, SiteRecord
from tests.browser import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sites = [f"a-hospital-with-a-rather-long-name-{number}" for number in range(4)]
    history = [
        RoundRecord(
            phase="adapt",
            server_round=number,
            num_rounds=200,
            sites={
                site: SiteRecord(
                    state="used" if number % 7 else "overdue", metrics={"loss": 1 / number}, share=0.25, reason="late"
                )
                for site in sites
            },
        )
        for number in range(1, 201)
    ]
    facts = FederationFacts(
        name="brain",
        method="asc-plus",
        end="deserted",
        end_reason="too few usable replies: " + ", ".join(sites),
        participants=[
            Participant(site_id=site, role="target", num_cases=9, num_test_cases=4, key="SHA256:" + "x" * 43)
            for site in sites
        ],
        history=history,
        hashes=[("plan", "ab" * 32)],
        config={"seed": 3},
    )
    path = tmp_path_factory.mktemp("federation") / "federation.html"
    path.write_text(render_federation_page(facts), encoding="utf-8")
    return path


def test_it_loads_from_a_file_without_a_word_with_its_chart(page: Page, federation: Path) -> None:
    page.open(federation)
    assert page.run("Promise.all([...document.images].map(img => img.decode().then(() => img.naturalWidth > 0)))") == [
        True
    ]
    assert page.run("document.scripts.length") == 0
    assert page.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_hundred_rounds_of_long_names_fit_a_phone(page: Page, federation: Path, scheme: str) -> None:
    page.open(federation)
    page.use_scheme(scheme)
    page.resize(360, 740, is_mobile=True)
    page.until("innerWidth === 360")
    assert page.run("document.documentElement.scrollWidth") <= 360


def test_every_table_that_scrolls_can_be_reached_by_keyboard_and_the_page_prints(page: Page, federation: Path) -> None:
    page.open(federation)
    assert page.run(
        "[...document.querySelectorAll('.scroll')].every(one => one.tabIndex === 0 || !one.querySelector('table'))"
    )
    assert page.pdf().startswith(b"%PDF")
