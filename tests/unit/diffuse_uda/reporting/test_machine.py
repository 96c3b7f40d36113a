import getpass
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from diffuse_uda.reporting import machine
from diffuse_uda.reporting.machine import describe_command, describe_machine


def test_a_machine_is_described_by_json_values_without_paths_or_names() -> None:
    description = describe_machine()
    text = json.dumps({key: value for key, value in description.items() if key not in {"cpu", "gpu"}})
    assert {"cpu", "cpu_cores", "memory_gib", "python", "torch", "monai", "flwr", "commit"} <= description.keys()
    assert description["python"] == platform.python_version()
    assert "/" not in text
    assert platform.node() not in text
    assert f'"{getpass.getuser()}"' not in text


def test_folders_of_absolute_paths_are_left_out_of_a_command() -> None:
    arguments = ["/home/ann/.venv/bin/diffuse-uda", "demo", "--data=/data/ann/brain4", "/data/x", "--seed", "3", "a/b"]
    assert describe_command(arguments) == "diffuse-uda demo --data=brain4 x --seed 3 a/b"
    assert describe_command(["/"]) == "/"


def test_what_a_machine_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.delattr(os, "sysconf")
    assert machine._cpu_model(tmp_path / "cpuinfo") is None
    assert machine._memory_gib() is None
    assert machine._version("no-such-package-here") is None


def test_the_processor_is_named_by_its_model_line(tmp_path: Path) -> None:
    source = tmp_path / "cpuinfo"
    source.write_text("processor\t: 0\nmodel name\t: Abacus 9\nmodel name\t: Abacus 9\n", encoding="utf-8")
    assert machine._cpu_model(source) == "Abacus 9"


def test_a_graphics_card_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    assert describe_machine()["gpu"] == "card 0"


def test_commit_and_changes_are_those_of_this_checkout(tmp_path: Path) -> None:
    assert machine._git(tmp_path, "rev-parse", "HEAD") is None
    assert machine._is_dirty(tmp_path) is None
    commands = [
        ["init", "-q"],
        ["config", "user.name", "A"],
        ["config", "user.email", "a@example.org"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
    ]
    assert machine._git(_initialised(tmp_path / "empty", commands[:1]), "rev-parse", "HEAD") is None
    checkout = _initialised(tmp_path / "checkout", commands)
    assert len(machine._git(checkout, "rev-parse", "HEAD") or "") == 40
    assert machine._is_dirty(checkout) is False
    (checkout / "new.py").touch()
    subprocess.run(["git", "-C", str(checkout), "add", "new.py"], check=True)
    assert machine._is_dirty(checkout) is True


def _initialised(folder: Path, commands: list[list[str]]) -> Path:
    folder.mkdir()
    for command in commands:
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder
