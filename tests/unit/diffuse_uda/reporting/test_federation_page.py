"""The federation's page as text."""

from dataclasses import replace

import pytest

from diffuse_uda.reporting.federation_page import (
    FederationFacts,
    Participant,
    render_federation_page,
    rounds_by_phase,
    troubles,
)
from diffuse_uda.reporting.history_view import RoundRecord, SiteRecord

USED = SiteRecord(state="used", metrics={"loss": 0.5}, share=0.5, to_site_bytes=1000, to_server_bytes=900)


@pytest.fixture
def facts() -> FederationFacts:
    history = [
        RoundRecord(phase="adapt", server_round=1, num_rounds=3, sites={"leeds": USED, "york": USED}),
        RoundRecord(
            phase="adapt",
            server_round=2,
            num_rounds=3,
            sites={
                "leeds": replace(USED, metrics={"loss": 0.25}, warnings=("no learning",)),
                "york": SiteRecord(state="rejected", reason="a weight is not finite"),
            },
        ),
    ]
    return FederationFacts(
        name="brain",
        method="asc-plus",
        end="running",
        label_names=["background", "core"],
        participants=[
            Participant(site_id="york", role="source", num_cases=20, num_test_cases=0, key="SHA256:abc"),
            Participant(site_id="leeds", role="target", num_cases=9, num_test_cases=4),
        ],
        history=history,
        num_rounds=12,
        scores={"asc": {"leeds": {"dice": 0.7125, "num_examples": 4}}},
        refused_messages=[("2026-01-01T00:00:00Z", "leeds", "bad-signature")],
        hashes=[("plan", "ab" * 32)],
        config={"seed": 3},
    )


def test_every_site_and_every_round_is_there(facts: FederationFacts) -> None:
    html = render_federation_page(facts)
    assert html.count('title="round 1: used') == 2
    assert 'title="round 2: rejected, a weight is not finite' in html
    assert "1 used, 1 rejected" in html
    assert "loss 0.500 → 0.250" in html
    assert "2 of 3 rounds" in html
    assert "2 <small>of 12</small>" in html


def test_what_did_not_go_as_asked_is_listed_with_its_reason(facts: FederationFacts) -> None:
    assert troubles(facts.history) == [
        ("adapt", 2, "leeds", "warning", "no learning"),
        ("adapt", 2, "york", "rejected", "a weight is not finite"),
    ]
    assert "bad-signature" in render_federation_page(facts)
    assert "None so far" in render_federation_page(replace(facts, history=[], refused_messages=[]))


def test_a_share_is_the_last_one_that_counted(facts: FederationFacts) -> None:
    planned, sites = rounds_by_phase(facts.history)["adapt"]
    assert planned == 3
    assert {site.site_id: site.last_share for site in sites} == {"leeds": 0.5, "york": 0.5}


def test_scores_keys_and_sums_are_shown(facts: FederationFacts) -> None:
    html = render_federation_page(facts)
    for shown in ("0.713", "SHA256:abc", "ab" * 32, "asc-plus"):
        assert shown in html


def test_a_run_without_a_round_has_a_page_too(facts: FederationFacts) -> None:
    html = render_federation_page(replace(facts, history=[], scores={}, hashes=[]))
    assert "No round is over yet" in html


def test_names_of_sites_stay_text_and_nothing_is_loaded(facts: FederationFacts) -> None:
    nasty = replace(facts.participants[0], site_id="<script>alert(1)</script>")
    html = render_federation_page(replace(facts, participants=[nasty]))
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_the_same_facts_give_the_same_page(facts: FederationFacts) -> None:
    assert render_federation_page(facts) == render_federation_page(facts)
