"""The verbs about a site's wall end with exit codes that a script can tell apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from diffuse_uda.cli import app
from diffuse_uda.command_line import run_command_line
from diffuse_uda.config import StudyConfig, preset
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.audit import AuditLog
from diffuse_uda.exchange.audit_entries import ORDER_RECEIVED, ORDER_SENT, order_facts
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.signing import fingerprint, open_key
from diffuse_uda.site_code import site_code
from tests.tiny_site import FLAT, tiny_cohort


def _run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["diffuse-uda", *map(str, words)])
    return run_command_line(app)


def _log(path: Path, side: str, event: str, *payloads: str) -> Path:
    log = AuditLog(path, side=side)
    for payload in payloads:
        facts = order_facts(
            run="r", fall_backs=0, site_id="leeds", message_type="m", payload=payload, base="b", num_bytes=1
        )
        log.append(event, facts)
    return path


def test_verify_tells_whole_broken_and_different_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = _log(tmp_path / "site.jsonl", "site", ORDER_RECEIVED, "a", "b")
    server = _log(tmp_path / "server.jsonl", "server", ORDER_SENT, "a", "b")
    longer = _log(tmp_path / "longer.jsonl", "server", ORDER_SENT, "a", "b", "c")
    assert _run(monkeypatch, "audit", "verify", site) == 0
    assert capsys.readouterr().out == (
        f"{site}: log of a site, 2 entries, 0 problems\n"
        "WHOLE in itself. Whether somebody cut its end and wrote the head anew, --other alone can tell.\n"
    )
    assert _run(monkeypatch, "audit", "verify", site, "--other", server) == 0
    assert capsys.readouterr().out.endswith("WHOLE, and both sides tell the same\n")
    assert _run(monkeypatch, "audit", "verify", site, "--other", longer) == 3
    assert "only the server has: to the site m of site leeds, run r, payload c" in capsys.readouterr().out
    site.write_bytes(site.read_bytes().replace(b'"payload":"a"', b'"payload":"x"'))
    assert _run(monkeypatch, "audit", "verify", site, "--other", server) == 1
    shown = capsys.readouterr().out
    assert f"{site}: log of a site, 2 entries, 1 problems\n  line 1: [changed] its hash does not fit what" in shown
    assert shown.endswith("BROKEN: keep both files as they are, and find out who touched them\n")
    assert _run(monkeypatch, "audit", "verify", tmp_path / "none.jsonl") == 2
    assert "cannot read the audit log" in capsys.readouterr().err


def test_a_site_s_key_is_made_once_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert _run(monkeypatch, "site-key", tmp_path / "key.pem") == 0
    first, second = capsys.readouterr().out.split()
    assert first == second == fingerprint(open_key(tmp_path / "key.pem").public)


def test_a_plan_can_be_approved_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text('seed = 3\nname = "mine"\n', encoding="utf-8")
    assert _run(monkeypatch, "config", "--study", study, "--hash") == 0
    assert capsys.readouterr().out.strip() == plan_hash(StudyConfig(seed=3)) != plan_hash(preset("small"))


def _study(folder: Path) -> Path:
    study = folder / "study.toml"
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in FLAT.items()]
    study.write_text("\n".join([*lines, 'method = "source-only"']), encoding="utf-8")
    return study


def test_a_preview_is_a_table_or_json_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = tiny_cohort(tmp_path / "cohort")
    words = ("preview-egress", source, "--role", "source", "--study", _study(tmp_path))
    assert _run(monkeypatch, *words) == 0
    shown, progress = capsys.readouterr()
    assert shown.startswith("What site source-t1w would send as a source in the study 'study' ")
    assert progress == "introduction done\nwarm-up done\nevaluate-source-only done\n"
    assert _run(monkeypatch, *words, "--json", "--out", tmp_path / "out") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [message["name"] for message in listed] == ["introduction", "warm-up", "evaluate-source-only"]
    assert len((tmp_path / "out" / "01-warm-up.bin").read_bytes()) == listed[1]["wire_bytes"]


@pytest.mark.parametrize("words", [(), ("folder", "--site", "site.toml"), ("--site", "nowhere.toml")])
def test_a_preview_wants_one_site(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, "preview-egress", *words) == 2


def test_a_wheel_without_the_site_s_code_says_so() -> None:
    with pytest.raises(ConfigError, match="use the diffuse-uda of a checkout"):
        site_code("client.nothing_of_this_name")
