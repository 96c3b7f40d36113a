import importlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.deployment.state_folder import keep_secret, make_private_folder
from diffuse_uda.deployment.trial_certificates import Trial, write_trial
from diffuse_uda.errors import ConfigError
from server import hub as hub_module
from server import superlink_process
from server.__main__ import app
from server.gate import ADMIN_HEADER, ControlAccess, Rules
from server.hub import check_hub, explain, programs, run_flower, run_hub, summary, superlink_options, write_connection
from server.hub_settings import HubSettings
from server.superlink_process import is_news, parse

NOW = datetime.now(tz=UTC)


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
    for name in ("hub.pem", "hub.key", "ca.pem"):
        (tmp_path / name).write_bytes((trial / "hub" / name).read_bytes())
    (tmp_path / "hub.key").chmod(0o600)
    path = tmp_path / "hub.toml"
    path.write_text(
        'federation = "brain"\nstate-dir = "state"\ncertificate = "hub.pem"\nkey = "hub.key"\nca = "ca.pem"\n'
        f'listen = "127.0.0.1:{free_port()}"\nhealth = "127.0.0.1:{free_port()}"\n'
        f'executor-health = "127.0.0.1:{free_port()}"\n',
        encoding="ascii",
    )
    return path


@pytest.fixture
def hub(settings_file: Path) -> HubSettings:
    return read_settings(settings_file, HubSettings)


@pytest.fixture
def untouched_environment() -> Iterator[None]:
    before, mask = dict(os.environ), os.umask(0o022)
    yield
    os.umask(mask)
    os.environ.clear()
    os.environ.update(before)


def test_a_hub_in_order_has_nothing_to_warn_of(hub: HubSettings) -> None:
    assert check_hub(hub, now=NOW) == []


def test_a_key_that_others_may_read_is_refused(hub: HubSettings) -> None:
    hub.key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"key file\n.*mode 0644.*\n.*\n.*chmod 600"):
        check_hub(hub, now=NOW)


def test_a_key_of_another_certificate_is_refused_before_openssl_trips(hub: HubSettings, trial: Path) -> None:
    hub.key.write_bytes((trial / "ca/ca.key").read_bytes())
    with pytest.raises(ConfigError, match="the certificate was made for another key"):
        check_hub(hub, now=NOW)


def test_a_certificate_without_the_name_that_the_executor_uses_is_refused(hub: HubSettings) -> None:
    elsewhere = hub.model_copy(update={"local_name": "other.example.org"})
    with pytest.raises(ConfigError, match=r"certificate trust\n.*[Hh]ostname mismatch"):
        check_hub(elsewhere, now=NOW)


def test_an_expired_certificate_is_refused_and_one_near_its_end_is_warned_of(hub: HubSettings) -> None:
    with pytest.raises(ConfigError, match="expired on"):
        check_hub(hub, now=NOW + timedelta(days=91))
    warnings = check_hub(hub, now=NOW + timedelta(days=70))
    assert len(warnings) == 2  # the hub's and the CA's
    assert all(", 2" in warning or "days" in warning for warning in warnings)


def test_a_missing_certificate_and_a_foreign_ca_are_said(hub: HubSettings, tmp_path: Path) -> None:
    write_trial(tmp_path / "foreign", Trial(hub_names=("x",), site_ids=("a",), days=9), now=NOW)
    with pytest.raises(ConfigError, match="certificate trust"):
        check_hub(hub.model_copy(update={"ca": tmp_path / "foreign/ca/ca.pem"}), now=NOW)
    gone = hub.model_copy(update={"certificate": tmp_path / "no.pem", "ca": tmp_path / "no.pem"})
    with pytest.raises(ConfigError, match=r"no\.pem cannot be read"):
        check_hub(gone, now=NOW)


def test_a_taken_port_is_refused_with_its_holder(hub: HubSettings) -> None:
    holder = rf"port {hub.listens_on.port}\n.*taken by .*process {os.getpid()}"
    with socket.create_server(("127.0.0.1", hub.listens_on.port)), pytest.raises(ConfigError, match=holder):
        check_hub(hub, now=NOW)


def test_every_failure_is_said_at_once(hub: HubSettings) -> None:
    hub.key.chmod(0o644)
    with socket.create_server(("127.0.0.1", hub.listens_on.port)), pytest.raises(ConfigError) as caught:
        check_hub(hub, now=NOW + timedelta(days=91))
    assert str(caught.value).count("fix:") == 4  # the key's mode, two dates, the port


@pytest.mark.parametrize(
    ("listen", "own"),
    [
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("0.0.0.0:8443", "127.0.0.1:8443"),
        ("[::]:8443", "[::1]:8443"),
        ("192.0.2.10:443", "192.0.2.10:443"),
    ],
)
def test_the_executor_calls_the_hub_on_this_machine(hub: HubSettings, listen: str, own: str) -> None:
    assert str(hub.model_copy(update={"listen": listen}).own_address) == own


def test_link_and_executor_show_no_secret_on_their_command_lines(hub: HubSettings) -> None:
    make_private_folder(hub.state_dir)
    secrets = [keep_secret(path) for path in (hub.admin_token, hub.executor_secret)]
    link, executor = programs(hub, {"PATH": "/bin", "PYTHONPATH": "/elsewhere"})
    for program in (link, executor):
        assert program.command[:2] == (sys.executable, "-P")
        assert not any(secret in argument for secret in secrets for argument in program.command)
        assert program.environment["FLWR_TELEMETRY_ENABLED"] == "0"
        assert program.folder == hub.state_dir
    assert link.environment["PYTHONPATH"] == str(hub_module.CHECKOUT)
    assert "PYTHONPATH" not in executor.environment  # it starts the apps, whose code is their bundle's


def test_the_link_understands_what_the_hub_passes(hub: HubSettings) -> None:
    link = programs(hub, {})[0]
    own, flowers = parse(link.command[4:])
    assert own.federation == "brain"
    assert own.control is ControlAccess.TOKEN_AND_LOOPBACK
    assert own.admin_token == hub.admin_token
    assert own.max_request_bytes == 64 * 2**20
    assert own.longest_outage_s == 86400.0
    assert tuple(flowers) == superlink_options(hub)


def test_the_summary_says_what_listens_where_and_never_the_token(hub: HubSettings) -> None:
    make_private_folder(hub.state_dir)
    token = keep_secret(hub.admin_token)
    said = summary(hub)
    assert f"hub of brain on https://{hub.listens_on}" in said
    assert f"token in {hub.admin_token}" in said
    assert token not in said
    assert "token in" not in summary(hub.model_copy(update={"control": ControlAccess.LOOPBACK}))


def test_the_connection_of_flowers_command_line_uses_tls(hub: HubSettings) -> None:
    make_private_folder(hub.admin_home)
    write_connection(hub)
    text = (hub.admin_home / "config.toml").read_text(encoding="utf-8")
    assert f'address = "{hub.own_address}"' in text
    assert f'root-certificates = "{hub.ca}"' in text
    assert "insecure" not in text


@pytest.mark.usefixtures("untouched_environment")
def test_a_hub_prepares_its_folder_runs_and_ends(hub: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def keep_running(programs: list[object], _stop: object, **_: object) -> bool:
        ran.append(sorted(path.name for path in hub.state_dir.iterdir()))
        return True

    monkeypatch.setattr(hub_module, "keep_running", keep_running)
    (hub.state_dir / "flower/task-left").mkdir(parents=True)
    for folder in (hub.state_dir, hub.flower_home):
        folder.chmod(0o700)
    said: list[str] = []
    assert run_hub(hub, said.append)
    assert ran == [["admin", "admin.token", "executor.secret", "flower", "run.lock"]]
    assert list(hub.flower_home.iterdir()) == []
    assert said == [summary(hub)]


@pytest.mark.usefixtures("untouched_environment")
def test_flowers_command_line_gets_the_token_in_a_header(hub: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_private_folder(hub.state_dir)
    token = keep_secret(hub.admin_token)
    seen: list[object] = []
    monkeypatch.setattr(hub_module, "run_command_line", lambda arguments, headers: seen.append((arguments, headers)))
    run_flower(hub, ["ls"])
    assert seen == [(["ls"], {ADMIN_HEADER: token})]
    assert os.environ["FLWR_HOME"] == str(hub.admin_home)


def test_an_administrator_is_told_what_a_dead_program_means() -> None:
    assert "flower-superlink is back within a minute" in explain("flower-superlink", -9)


@pytest.mark.parametrize(
    ("path", "status", "news"),
    [
        ("/v1/runtime/acquire-task", 200, False),
        ("/v1/fleet/pull-messages", 200, False),
        ("/v1/fleet/pull-messages", 401, True),
        ("/v1/control/start-run", 200, True),
    ],
)
def test_polling_is_no_news(path: str, status: int, *, news: bool) -> None:
    arguments = ("192.0.2.7:1", "POST", path, "1.1", status)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s "%s %s HTTP/%s" %d', arguments, None)
    assert is_news(record) is news
    assert is_news(logging.LogRecord("uvicorn.access", logging.INFO, "", 0, "plain", None, None))


def test_the_command_line_checks_and_asks(settings_file: Path) -> None:
    checked = CliRunner().invoke(app, ["hub", str(settings_file), "--check"])
    assert (checked.exit_code, "hub of brain on" in checked.output) == (0, True)
    asked = CliRunner().invoke(app, ["health", str(settings_file)])
    assert (asked.exit_code, asked.output.count("UNAVAILABLE")) == (1, 2)


def test_the_command_line_passes_flowers_own_options_on(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("server.__main__.run_flower", lambda _settings, arguments: seen.append(arguments))
    arguments = ["supernode", "register", "leeds.pub", "--name", "leeds", "--help"]
    assert CliRunner().invoke(app, ["flwr", str(settings_file), *arguments]).exit_code == 0
    assert seen == [arguments]


def test_a_hub_whose_programs_keep_ending_has_failed(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.__main__.run_hub", lambda _settings, _say: False)
    assert CliRunner().invoke(app, ["hub", str(settings_file)]).exit_code == 1


def test_the_link_gets_its_rules_and_the_token_from_the_file(hub: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    make_private_folder(hub.state_dir)
    token = keep_secret(hub.admin_token)
    seen: list[tuple[list[str], Any, float]] = []
    monkeypatch.setattr(
        superlink_process,
        "run_superlink",
        lambda arguments, gate, max_outage_s: seen.append((arguments, gate, max_outage_s)),
    )
    monkeypatch.setattr(sys, "argv", ["superlink_process", *programs(hub, {})[0].command[4:]])
    superlink_process.main()
    arguments, gate, max_outage_s = seen[0]
    assert (tuple(arguments), max_outage_s) == (superlink_options(hub), 86400.0)
    assert gate.keywords["rules"] == Rules(
        federation="brain",
        control=ControlAccess.TOKEN_AND_LOOPBACK,
        admin_token=token.encode("ascii"),
        max_request_bytes=64 * 2**20,
    )
    assert is_news in logging.getLogger("uvicorn.access").filters
    logging.getLogger("uvicorn.access").removeFilter(is_news)


@pytest.mark.parametrize("main", ["server", "client"])
def test_a_refusal_is_a_message_and_no_traceback(
    main: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["-m", "health", "/nowhere.toml"])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"{main}.__main__").main()
    assert caught.value.code == 2
    assert "cannot read the settings /nowhere.toml" in capsys.readouterr().err


def test_another_flower_is_refused_at_the_start(hub: HubSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "1.42.0")
    with pytest.raises(ConfigError, match=r"found 1\.42\.0; wanted 1\.41\.0"):
        check_hub(hub, now=NOW)
