"""Units, containers and example settings: what they run exists, and nothing in them calls home or starts as root."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from client.__main__ import app as client_app
from client.site_settings import SiteSettings
from diffuse_uda.deployment.settings_file import Settings, read_settings
from diffuse_uda.exchange.quiet import QUIET_ENVIRONMENT
from server.__main__ import app as server_app
from server.hub_settings import HubSettings

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("server/deploy/diffuse-uda-hub.service", "client/deploy/diffuse-uda-site.service")
KINDS = ("server", "client")
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
    "RestrictNamespaces": "yes",
    "SystemCallFilter": "@system-service",
    "UMask": "0077",
    "LimitCORE": "0",
}


def entries(unit: str) -> list[tuple[str, str]]:
    lines = (ROOT / unit).read_text(encoding="ascii").splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return [(key, value) for key, _, value in pairs]


def value_of(unit: str, key: str) -> str:
    found = [value for name, value in entries(unit) if name == key]
    assert len(found) == 1, f"{unit}: {key} stands {len(found)} times"
    return found[0]


def require_command(arguments: list[str]) -> None:
    """Fail unless `python -m KIND COMMAND ...` is one that the command line understands."""
    kind, name, *rest = arguments
    group = typer.main.get_command({"server": server_app, "client": client_app}[kind])
    assert isinstance(group, click.Group)
    command = group.commands[name]
    known = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert {argument for argument in rest if argument.startswith("--")} <= known
    assert sum(not argument.startswith("--") for argument in rest) >= 1  # the settings file


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_commands_that_exist(unit: str) -> None:
    commands = [shlex.split(value) for key, value in entries(unit) if key.startswith("Exec")]
    assert len(commands) == 2  # the service, and the question whether it serves
    for interpreter, flag, *arguments in commands:
        assert (interpreter, flag) == ("/opt/diffuse-uda/.venv/bin/python", "-m")
        require_command(arguments)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_comes_back_with_a_delay_for_ever(unit: str) -> None:
    assert value_of(unit, "Restart") == "always"
    assert int(value_of(unit, "RestartSec")) >= 10
    assert value_of(unit, "StartLimitIntervalSec") == "0"


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_hardened_and_has_an_account_of_its_own(unit: str) -> None:
    assert {key: value_of(unit, key) for key in HARDENED} == HARDENED
    assert value_of(unit, "User").startswith("diffuse-uda-")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_switches_every_call_home_off(unit: str) -> None:
    said = dict(value.split("=", 1) for key, value in entries(unit) if key == "Environment")
    assert said == dict(QUIET_ENVIRONMENT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_runs_commands_that_exist_and_is_not_root(kind: str) -> None:
    text = (ROOT / kind / "deploy/Containerfile").read_text(encoding="ascii").replace("\\\n", " ")
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]
    command = json.loads(re.search(r"^CMD (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]
    probe = json.loads(re.search(r"^HEALTHCHECK .* CMD (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]
    for arguments in (entry + command, probe):
        assert arguments[:2] == ["python", "-m"]
        require_command(arguments[2:])
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    for name, value in QUIET_ENVIRONMENT.items():
        assert f"{name}={value}" in text
    assert "--require-hashes" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_composition_runs_commands_that_exist_with_least_rights(kind: str) -> None:
    composed = yaml.safe_load((ROOT / kind / "deploy/compose.yaml").read_text(encoding="ascii"))
    services: dict[str, dict[str, Any]] = composed["services"]
    assert len(services) == 1
    service = next(iter(services.values()))
    require_command([kind, *service["command"]])
    assert service["healthcheck"]["test"][:3] == ["CMD", "python", "-m"]
    require_command(service["healthcheck"]["test"][3:])
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["restart"] == "always"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_a_site_publishes_no_port() -> None:
    composed = yaml.safe_load((ROOT / "client/deploy/compose.yaml").read_text(encoding="ascii"))
    assert "ports" not in composed["services"]["site"]


@pytest.mark.parametrize(
    ("file", "kind"), [("server/deploy/hub.toml", HubSettings), ("client/deploy/site.toml", SiteSettings)]
)
def test_the_example_settings_work_and_name_every_key(file: str, kind: type[Settings]) -> None:
    read_settings(ROOT / file, kind)
    lines = (ROOT / file).read_text(encoding="ascii").splitlines()
    named = {found[1] for line in lines if (found := re.match(r"(?:# )?([a-z][a-z-]*) =", line))}
    assert named == {name.replace("_", "-") for name in kind.model_fields}


def test_the_example_hub_keeps_to_itself() -> None:
    hub = read_settings(ROOT / "server/deploy/hub.toml", HubSettings)
    assert {address.host for address in (hub.listens_on, hub.own_address)} == {"127.0.0.1"}
    assert hub.control == "token-and-loopback"
