"""The federation's page from a run folder, whatever of it is there yet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.training.checkpoints import save_checkpoint
from diffuse_uda.types import SiteRole
from server.__main__ import app
from server.federation_report import PAGE, federation_facts, write_federation_page
from server.history import append_record
from server.journal import JOURNAL_FILE, Happening, Journal
from server.register import AUDIT_LOG, KEYS_FILE
from server.run_folder import SEGMENTER, open_run_folder, save_scores
from tests.unit.server.test_tensorboard_events import RECORD

CONFIG = StudyConfig.from_flat({"name": "brain"})
SITES = [
    SiteCard(
        site_id=site_id,
        role=role,
        num_cases=cases,
        num_test_cases=3,
        label_names=("background", "core"),
    )
    for site_id, role, cases in (("york", SiteRole.SOURCE, 20), ("leeds", SiteRole.TARGET, 9))
]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    open_run_folder(folder, CONFIG, SITES)
    return folder


def test_a_run_that_has_just_begun_has_its_sites_and_plan(run_dir: Path) -> None:
    facts = federation_facts(run_dir)
    assert [(site.site_id, site.role, site.num_cases) for site in facts.participants] == [
        ("york", "source", 20),
        ("leeds", "target", 9),
    ]
    assert (facts.end, facts.history) == ("unknown", [])
    assert facts.num_rounds > 0
    assert dict(facts.hashes) == {"plan: what the study asks of its sites": plan_hash(CONFIG)}


def test_everything_in_the_folder_finds_its_place(run_dir: Path) -> None:
    append_record(run_dir, RECORD)
    site = RECORD.sites["leeds"]
    scored = type(RECORD)(**{**asdict(RECORD), "row": "asc", "model": RECORD.model, "sites": {"leeds": site}})
    save_scores(run_dir, scored)
    journal = Journal(run_dir / JOURNAL_FILE)
    journal.append(Happening.STARTED, {"run": "ab12"})
    save_checkpoint(run_dir / SEGMENTER, {}, {})
    (run_dir / KEYS_FILE).write_text(json.dumps({"run": "ab12", "keys": {"leeds": "00" * 32}}), encoding="utf-8")
    refused = {"event": "message-refused", "time": "2026", "from": "leeds", "why": "bad-signature", "site": "x"}
    (run_dir / AUDIT_LOG).write_text(json.dumps(refused) + '\n{"event": "mess', encoding="utf-8")
    facts = federation_facts(run_dir, bundle="cd" * 32)
    assert [record.phase for record in facts.history] == ["adapt"]
    assert facts.history[0].sites["leeds"].seconds == 1.5
    assert facts.scores["asc"]["leeds"]["loss"] == 0.25
    assert facts.refused_messages == [("2026", "leeds", "bad-signature")]
    assert facts.participants[1].key.startswith("SHA256:") or facts.participants[1].key
    names = [name for name, _ in facts.hashes]
    assert names[1].startswith("app bundle")
    assert "weights: segmenter of all sites" in names
    assert names[-1] == "journal, after 1 entries"


def test_the_page_holds_no_path_of_the_hub(run_dir: Path) -> None:
    path = write_federation_page(run_dir)
    assert path == run_dir / PAGE
    assert str(run_dir.parent) not in path.read_text(encoding="utf-8")


def test_making_the_page_changes_nothing_else(run_dir: Path) -> None:
    append_record(run_dir, RECORD)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    write_federation_page(run_dir)
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != PAGE}
    assert after == before


def test_a_folder_without_a_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="python -m server status"):
        write_federation_page(tmp_path)


def test_the_command_says_where_the_page_is(run_dir: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run_dir), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert "page.html" in result.output
    assert (tmp_path / "page.html").exists()
