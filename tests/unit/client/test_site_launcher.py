import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from client import site_launcher, supernode_process
from client.__main__ import app
from client.bundle_approval import approve, read_approved
from client.site import open_site
from client.site_launcher import check_site, explain, programs, run_site, summary, supernode_options, write_node_config
from client.site_settings import SiteSettings
from client.supernode_process import parse
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.deployment.state_folder import make_private_folder
from diffuse_uda.deployment.trial_certificates import Trial, write_trial
from diffuse_uda.doctor.hub import HubAnswer, Obstacle
from diffuse_uda.errors import ConfigError, InUseError
from diffuse_uda.exchange.signing import open_key
from diffuse_uda.types import SiteRole

NOW = datetime.now(tz=UTC)
SHA256 = "a" * 64


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    write_trial(folder, Trial(hub_names=("hub.example.org",), site_ids=("leeds",), days=90), now=NOW)
    return folder


@pytest.fixture
def settings_file(trial: Path, tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    for name in ("leeds.key", "ca.pem"):
        (tmp_path / name).write_bytes((trial / "sites/leeds" / name).read_bytes())
    (tmp_path / "leeds.key").chmod(0o600)
    (tmp_path / "data with = 'quotes' and \"more\"").mkdir()
    approve(SHA256, tmp_path / "approved.txt", note="")
    path = tmp_path / "site.toml"
    path.write_text(
        'site-id = "leeds"\nrole = "target"\nworkspace = "work"\nstate-dir = "state"\n'
        "data-dir = '''data with = 'quotes' and \"more\"'''\n"
        f'hub = "127.0.0.1:{free_port()}"\nca = "ca.pem"\nkey = "leeds.key"\napproved-bundles = "approved.txt"\n'
        f"runtime-port = {free_port()}\nhealth-port = {free_port()}\nexecutor-health-port = {free_port()}\n"
        "num-threads = 3\n",
        encoding="ascii",
    )
    return path


@pytest.fixture
def site(settings_file: Path) -> SiteSettings:
    return read_settings(settings_file, SiteSettings)


@pytest.fixture
def answer(trial: Path) -> HubAnswer:
    certificate = x509.load_pem_x509_certificate((trial / "hub/hub.pem").read_bytes())
    return HubAnswer(certificate=certificate, status=200, hub_s=1000.0, here_s=1000.5, federation="brain")


@pytest.fixture
def untouched_mask() -> Iterator[None]:
    mask = os.umask(0o022)
    yield
    os.umask(mask)


def test_a_site_in_order_is_asked_to_compare_fingerprints_only(site: SiteSettings, answer: HubAnswer) -> None:
    warnings = check_site(site, answer, now=NOW)
    assert len(warnings) == 1
    assert "give it as fingerprint from then on" in warnings[0]


def test_a_site_waits_for_a_hub_that_is_not_there(site: SiteSettings) -> None:
    warnings = check_site(site, HubAnswer(obstacle=Obstacle.CLOSED, detail="Connection refused"), now=NOW)
    assert len(warnings) == 1
    assert "the site goes on trying" in warnings[0]


def test_a_hub_that_is_not_believed_is_not_joined(site: SiteSettings) -> None:
    impostor = HubAnswer(obstacle=Obstacle.NOT_BELIEVED, detail="unable to get local issuer certificate", fix="ask")
    with pytest.raises(ConfigError, match=r"hub TLS\n.*local issuer"):
        check_site(site, impostor, now=NOW)


@pytest.mark.parametrize("expected", [{"federation": "heart"}, {"fingerprint": "00" * 32}])
def test_another_federation_is_not_joined(site: SiteSettings, answer: HubAnswer, expected: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="do not join: another federation answers"):
        check_site(site.model_copy(update=expected), answer, now=NOW)


def test_a_clock_that_is_off_is_said_before_flower_refuses(site: SiteSettings, answer: HubAnswer) -> None:
    late = HubAnswer(certificate=answer.certificate, status=200, hub_s=1000.0, here_s=1300.5, federation="brain")
    with pytest.raises(ConfigError, match=r"300 s ahead of the hub's"):
        check_site(site, late, now=NOW)


def test_the_hospitals_lists_have_to_be_readable(site: SiteSettings, answer: HubAnswer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="egress policy"):
        check_site(site.model_copy(update={"egress_policy": tmp_path / "no.toml"}), answer, now=NOW)
    site.approved_bundles.chmod(0o666)
    with pytest.raises(ConfigError, match="decides which code runs here"):
        check_site(site, answer, now=NOW)


def test_a_missing_data_folder_is_said(site: SiteSettings, answer: HubAnswer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder that this account may read"):
        check_site(site.model_copy(update={"data_dir": tmp_path / "no"}), answer, now=NOW)


def test_a_key_of_another_kind_is_refused(site: SiteSettings, answer: HubAnswer, trial: Path, tmp_path: Path) -> None:
    open_key(tmp_path / "signing.pem")
    with pytest.raises(ConfigError, match="signing key, Ed25519"):
        check_site(site.model_copy(update={"key": tmp_path / "signing.pem"}), answer, now=NOW)
    with pytest.raises(ConfigError, match="in PEM form"):
        check_site(site.model_copy(update={"key": trial / "ca/ca.key"}), answer, now=NOW)
    site.key.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640"):
        check_site(site, answer, now=NOW)


def test_a_taken_port_is_refused(site: SiteSettings, answer: HubAnswer) -> None:
    with socket.create_server(("127.0.0.1", site.runtime_port)), pytest.raises(ConfigError, match="taken by"):
        check_site(site, answer, now=NOW)


def test_the_app_is_told_of_the_site_in_a_file_that_flower_reads(site: SiteSettings) -> None:
    make_private_folder(site.state_dir)
    write_node_config(site)
    assert site.node_config_file.stat().st_mode & 0o777 == 0o600
    told = open_site(tomllib.loads(site.node_config_file.read_text(encoding="utf-8")))
    assert (told.site_id, told.role, told.num_threads) == ("leeds", SiteRole.TARGET, 3)
    assert told.data_dir == site.data_dir
    assert told.signing_key == site.state_dir / "signing-key.pem"
    assert told.audit_log == site.state_dir / "audit.jsonl"
    assert told.egress_policy is None


def test_the_sites_own_policy_reaches_the_app(site: SiteSettings, tmp_path: Path) -> None:
    own = site.model_copy(update={"egress_policy": tmp_path / "egress.toml"})
    assert open_site(own.node_config()).egress_policy == tmp_path / "egress.toml"


def test_the_node_understands_what_the_site_passes_and_shows_no_folder_of_scans(site: SiteSettings) -> None:
    node, executor = programs(site, {"PYTHONPATH": "/elsewhere"})
    own, flowers = parse(node.command[4:])
    assert (own.approved_bundles, own.outage_patience_s) == (site.approved_bundles, 14400.0)
    assert tuple(flowers) == supernode_options(site)
    for program in (node, executor):
        assert program.command[:2] == (sys.executable, "-P")
        assert str(site.data_dir) not in " ".join(program.command)
    assert node.environment["PYTHONPATH"] == str(site_launcher.CHECKOUT)
    assert "PYTHONPATH" not in executor.environment


@pytest.mark.usefixtures("untouched_mask")
def test_a_site_prepares_its_folders_runs_and_ends(
    site: SiteSettings, answer: HubAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_launcher, "ask_hub", lambda _settings: answer)
    monkeypatch.setattr(site_launcher, "keep_running", lambda *_, **__: True)
    said: list[str] = []
    assert run_site(site, said.append)
    made = sorted(path.name for path in site.state_dir.iterdir())
    assert made == ["executor.secret", "flower", "node-config.toml", "run.lock", "signing-key.pem"]
    assert site.workspace.is_dir()
    assert said[1] == summary(site)
    assert said[2].startswith("  signing key       SHA256:")


@pytest.mark.usefixtures("untouched_mask")
def test_a_second_launcher_in_one_state_folder_is_told_who_works_there(site: SiteSettings) -> None:
    make_private_folder(site.state_dir)
    holder = (
        "import sys; from pathlib import Path; from diffuse_uda.data.run_lock import run_lock\n"
        "with run_lock(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(site.state_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=site_launcher.CHECKOUT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match=str(process.pid)):
            run_site(site, print)
        process.kill()


def test_the_summary_gives_the_line_that_the_hub_registers(site: SiteSettings, trial: Path) -> None:
    registered = (trial / "sites/leeds/leeds.pub").read_text(encoding="ascii").split()
    assert f"public key        {' '.join(registered[:2])}" in summary(site)
    assert "(1)" in summary(site)  # approved bundles


def test_a_hospital_is_told_what_a_dead_program_means() -> None:
    assert "2004" in explain("flower-supernode", 1)
    assert "asks again" in explain("flower-superexec", -9)


def test_the_command_line_checks_and_asks(settings_file: Path) -> None:
    checked = CliRunner().invoke(app, ["site", str(settings_file), "--check"])
    assert (checked.exit_code, "site leeds (target) calls" in checked.output) == (0, True)
    assert "goes on trying" in checked.output
    asked = CliRunner().invoke(app, ["health", str(settings_file)])
    assert (asked.exit_code, asked.output.count("UNAVAILABLE")) == (1, 2)


def test_a_site_whose_programs_keep_ending_has_failed(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.__main__.run_site", lambda _settings, _say: False)
    assert CliRunner().invoke(app, ["site", str(settings_file)]).exit_code == 1


def test_approving_prints_the_sum_and_lists_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr("client.__main__.app_bundle_sha256", lambda _checkout: SHA256)
    listed = tmp_path / "approved.txt"
    printed = CliRunner().invoke(app, ["approve", str(tmp_path)])
    assert (printed.exit_code, printed.output, listed.exists()) == (0, f"{SHA256}\n", False)
    added = CliRunner().invoke(app, ["approve", str(tmp_path), "--add-to", str(listed), "--note", "read by Jo"])
    assert (added.exit_code, read_approved(listed)) == (0, {SHA256: "read by Jo"})
    again = CliRunner().invoke(app, ["approve", str(tmp_path), "--add-to", str(listed)])
    assert "was already on" in again.output


def test_a_folder_that_is_no_app_is_refused(tmp_path: Path) -> None:
    assert isinstance(CliRunner().invoke(app, ["approve", str(tmp_path)]).exception, ConfigError)


def test_the_node_asks_the_hospitals_list(site: SiteSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], Callable[[str], str], float]] = []
    monkeypatch.setattr(
        supernode_process,
        "run_supernode",
        lambda arguments, refusal, outage_patience_s: seen.append((arguments, refusal, outage_patience_s)),
    )
    monkeypatch.setattr(sys, "argv", ["supernode_process", *programs(site, {})[0].command[4:]])
    supernode_process.main()
    arguments, refusal, patience_s = seen[0]
    assert (tuple(arguments), patience_s) == (supernode_options(site), 14400.0)
    assert refusal(SHA256) == ""
    assert "not on the list" in refusal("b" * 64)
