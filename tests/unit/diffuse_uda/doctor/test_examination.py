"""The whole page: every check that was asked for, whatever any of them finds, and the exit code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.site_settings import SiteSettings
from diffuse_uda.cli import app
from diffuse_uda.command_line import EXIT_FAILED, EXIT_REFUSED
from diffuse_uda.doctor import examination, hub
from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.certificates import fingerprint
from diffuse_uda.doctor.clock import Clocks
from diffuse_uda.doctor.data_folder import QuickLook
from diffuse_uda.doctor.disk import SHARED_MEMORY, Room
from diffuse_uda.doctor.examination import DEFAULT_LISTENING, Examination, examine, left_out
from diffuse_uda.doctor.hub_verdicts import Expected
from diffuse_uda.doctor.verdict import Status, Verdict, passed
from diffuse_uda.types import SiteRole
from server.gate import FEDERATION_HEADER
from tests.papers import Paper

MakePaper = Callable[..., Paper]
StartHub = Callable[..., Address]


def by_check(verdicts: Sequence[Verdict]) -> dict[str, Status]:
    return {verdict.check: verdict.status for verdict in verdicts}


def test_at_least_the_machine_is_looked_at() -> None:
    checks = by_check(examine(Examination(listening=(), environment={})))
    assert {
        "gpu",
        "memory",
        str(SHARED_MEMORY),
        "temporary folder",
        "proxy",
        "calls home",
        "clock steadiness",
    } <= checks.keys()
    assert "hub" not in checks
    assert "workspace" not in checks


def test_a_site_that_is_in_order_passes(
    start_hub: StartHub, hub_paper: Paper, ca: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machine that runs the tests may have less room than a site needs.
    roomy = Room(free_bytes=2**40, total_bytes=2**41, free_files=10**6)
    monkeypatch.setattr("diffuse_uda.doctor.examination.observe_room", lambda _folder: roomy)
    workspace = tmp_path / "ws"
    workspace.mkdir(mode=0o700)
    verdicts = examine(
        Examination(
            workspace=workspace,
            hub=start_hub(hub_paper),
            ca=ca.file,
            expected=Expected(fingerprint=fingerprint(ca.certificate), federation="brains"),
            listening=(),
            environment={},
        )
    )
    checks = by_check(verdicts)
    wanted = ("workspace", "CA", "hub", "hub TLS", "hub certificate", "federation", "hub health", "clock", "disk")
    assert {name: checks[name] for name in wanted} == dict.fromkeys(wanted, Status.PASS)


def test_a_hub_looks_at_its_own_papers(hub_paper: Paper, ca: Paper, closed_port: int) -> None:
    address = Address(host="localhost", port=closed_port)
    papers = Examination(ca=ca.file, certificate=hub_paper.file, keys=(hub_paper.key_file,), hub=address, listening=())
    checks = by_check(examine(papers))
    wanted = ("key file", "CA", "certificate", "certificate names", "certificate key", "certificate trust")
    assert {name: checks[name] for name in wanted} == dict.fromkeys(wanted, Status.PASS)
    assert checks["hub"] is Status.FAIL
    assert "hub TLS" not in checks  # nobody there: the rest would only repeat it


def test_what_one_paper_lacks_the_others_are_still_asked(hub_paper: Paper, ca: Paper, tmp_path: Path) -> None:
    def checks(**papers: object) -> dict[str, Status]:
        return by_check(examine(Examination(listening=(), **papers)))  # type: ignore[arg-type]

    missing = tmp_path / "missing.pem"
    assert checks(certificate=missing, keys=(hub_paper.key_file,))["certificate"] is Status.FAIL
    assert checks(ca=missing)["CA"] is Status.FAIL
    assert "certificate key" not in checks(certificate=hub_paper.file)
    wrong = checks(certificate=hub_paper.file, keys=(ca.key_file,), ca=ca.file)
    assert wrong["certificate key"] is Status.FAIL
    assert "certificate trust" not in wrong
    assert checks(keys=(ca.key_file,))["site key"] is Status.FAIL


def test_an_expired_certificate_is_found_by_the_injected_clock(hub_paper: Paper, ca: Paper) -> None:
    late = hub_paper.certificate.not_valid_after_utc.timestamp() + 1
    clocks = Clocks(wall_s=lambda: late, monotonic_s=lambda: 0.0)
    papers = Examination(certificate=hub_paper.file, keys=(hub_paper.key_file,), ca=ca.file, clocks=clocks)
    assert by_check(examine(papers))["certificate"] is Status.FAIL


def test_a_hub_that_is_not_believed_is_asked_no_further(start_hub: StartHub, hub_paper: Paper, other_ca: Paper) -> None:
    checks = by_check(examine(Examination(hub=start_hub(hub_paper), ca=other_ca.file, listening=())))
    assert (checks["hub"], checks["hub TLS"]) == (Status.PASS, Status.FAIL)
    assert "federation" not in checks


def test_a_study_that_cannot_be_run_is_a_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text("num-pases = 2\n")
    verdicts = examine(Examination(study=study, listening=()))
    assert verdicts[0].check == "study"
    assert "did you mean 'num-passes'" in verdicts[0].found
    assert "memory" in by_check(verdicts)


def test_a_check_that_breaks_down_is_a_failure_that_keeps_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Verdict]:
        msg = "/scans/DOE_JANE/t1.nii.gz"
        raise RuntimeError(msg)

    monkeypatch.setattr(examination, "check_versions", broken)
    verdicts = examine(Examination(listening=()))
    assert by_check(verdicts)["software"] is Status.FAIL
    assert "DOE_JANE" not in str(verdicts)
    assert "memory" in by_check(verdicts)


def test_a_sites_own_ports_are_looked_at_by_default() -> None:
    defaults = [SiteSettings.model_fields[f"{name}_port"].default for name in ("runtime", "health", "executor_health")]
    assert [address.port for address in DEFAULT_LISTENING] == defaults
    assert {address.host for address in DEFAULT_LISTENING} == {"127.0.0.1"}


def test_the_hubs_gate_and_the_doctor_mean_the_same_header() -> None:
    assert hub.FEDERATION_HEADER.lower() == FEDERATION_HEADER.lower()


def test_the_command_prints_a_page_or_json_and_ends_with_0_or_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setattr("diffuse_uda.doctor.examination.examine", lambda _wanted: [passed("disk", "room", "room")])
    good = CliRunner().invoke(app, ["doctor"])
    assert (good.exit_code, good.output.splitlines()[0]) == (0, "PASS  disk  room")
    monkeypatch.undo()
    options = ["--workspace", str(tmp_path / "nowhere"), "--health", f"127.0.0.1:{closed_port}"]
    bad = CliRunner().invoke(app, ["doctor", *options, "--listen", f"127.0.0.1:{closed_port}", "--json"])
    assert bad.exit_code == EXIT_FAILED
    told = json.loads(bad.output)
    assert told["status"] == "FAIL"
    checks = {one["check"]: one["status"] for one in told["checks"]}
    assert checks["gRPC health"] == "FAIL"
    assert checks[f"port {closed_port}"] == "PASS"


def test_a_data_folder_that_cannot_even_be_listed_is_a_failure_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        msg = "/scans/DOE_JANE"
        raise PermissionError(13, "Permission denied", msg)

    monkeypatch.setattr(examination, "look_at", forbidden)
    verdicts = examine(Examination(data=tmp_path, listening=()))
    assert by_check(verdicts)["data folder"] is Status.FAIL
    assert "DOE_JANE" not in str(verdicts)


def test_a_centres_own_scans_make_the_estimate_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A million scans of 4 mm x 100^3 on the grid of 4 mm: 14 bytes a voxel are 13039 GiB already.
    million = QuickLook(
        folder=tmp_path,
        num_training=10**6,
        num_held_out=0,
        num_classes=4,
        broken_rules=Counter(),
        warnings=Counter(),
        num_unreadable=0,
        first_scan_mm3=400.0**3,
    )
    monkeypatch.setattr(examination, "look_at", lambda *_: million)
    checks = by_check(examine(Examination(data=tmp_path / "data", workspace=tmp_path, listening=())))
    assert (checks["data folder"], checks["disk"]) == (Status.PASS, Status.FAIL)


def test_a_page_says_what_it_is_not_about(hub_paper: Paper) -> None:
    assert [words.partition(" ")[0] for words in left_out(Examination())] == ["data", "workspace", "keys", "hub,"]
    at_the_hub = Examination(certificate=hub_paper.file, keys=(hub_paper.key_file,))
    assert [words.partition(" ")[0] for words in left_out(at_the_hub)] == ["data", "workspace"]


@pytest.mark.parametrize("options", [["--data", "x"], ["--cert", "x"], ["--site", "site.toml", "--hub", "x:1"]])
def test_options_that_need_another_one_are_refused(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["doctor", *options]).exit_code == EXIT_REFUSED


def test_a_centre_and_its_role_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Examination] = []

    def remember(wanted: Examination) -> list[Verdict]:
        asked.append(wanted)
        return []

    monkeypatch.setattr("diffuse_uda.doctor.examination.examine", remember)
    options = ["--data", str(tmp_path), "--role", "source", "--hub", "[::1]:8443", "--key", "a", "--key", "b"]
    assert CliRunner().invoke(app, ["doctor", *options]).exit_code == 0
    (wanted,) = asked
    assert (wanted.data, wanted.role) == (tmp_path, SiteRole.SOURCE)
    assert wanted.hub == Address(host="::1", port=8443)
    assert wanted.keys == (Path("a"), Path("b"))
