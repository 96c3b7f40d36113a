"""Ports that are taken, proxies that catch, switches that call home."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from diffuse_uda.doctor import ports
from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.environment import flower_home, judge_flower_home, judge_phone_home, judge_proxies
from diffuse_uda.doctor.ports import Occupation, judge_port, program_of, try_to_listen
from diffuse_uda.doctor.verdict import Status
from diffuse_uda.exchange.quiet import FOUND_ENVIRONMENT, QUIET_ENVIRONMENT

PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL
PORT = Address(host="127.0.0.1", port=9094)
TAKEN = errno.EADDRINUSE


@pytest.mark.parametrize(
    ("seen", "status", "words"),
    [
        (Occupation(error=None), PASS, "free"),
        (Occupation(error=TAKEN, process_id=7, program="flower-supernode"), WARN, "flower-supernode (process 7)"),
        (Occupation(error=TAKEN, process_id=7, program="python3.11 -m client"), WARN, "-m client (process 7)"),
        (Occupation(error=TAKEN, process_id=7, program="nginx"), FAIL, "taken by nginx (process 7)"),
        (Occupation(error=TAKEN), FAIL, "somebody whom this account may not see"),
        (Occupation(error=errno.EACCES), FAIL, "Permission denied"),
    ],
)
def test_a_port_is_free_or_ours_or_somebody_elses(seen: Occupation, status: Status, words: str) -> None:
    line = judge_port(PORT, seen)
    assert line.status is status
    assert words in line.found


def test_listening_tells_a_free_port_from_a_taken_one_and_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(host="127.0.0.1", port=listener.getsockname()[1])
        seen = try_to_listen(address)
        assert (seen.error, seen.process_id) == (TAKEN, os.getpid())
        assert seen.program
    assert try_to_listen(address) == Occupation(error=None)


def test_an_address_of_another_machine_or_of_none_cannot_be_listened_on() -> None:
    assert try_to_listen(Address(host="192.0.2.1", port=9094)).error == errno.EADDRNOTAVAIL
    assert try_to_listen(Address(host="no-such-host.invalid", port=9094)).error == errno.EADDRNOTAVAIL


def test_where_the_kernel_does_not_tell_the_holder_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = tmp_path / "7" / "fd"
    process.mkdir(parents=True)
    (process / "0").write_text("no link")  # reading it as one fails, as at another account's process
    monkeypatch.setattr(ports, "_PROC", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = try_to_listen(Address(host="127.0.0.1", port=listener.getsockname()[1]))
    assert seen == Occupation(error=TAKEN)


def test_who_listens_is_told_from_who_only_talks_through_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /proc as the kernel shows it: process 8 holds a connection of port 9094 (0x2386), process 9 listens on it
    row = "{}: 0100007F:2386 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 {}\n"
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("header\n" + row.format(0, "01", 11) + row.format(1, "0A", 22))
    for process_id, inode, command in ((8, 11, b"curl"), (9, 22, b"/usr/sbin/nginx\0-g")):
        descriptors = tmp_path / str(process_id) / "fd"
        descriptors.mkdir(parents=True)
        (descriptors / "3").symlink_to(f"socket:[{inode}]")
        (tmp_path / str(process_id) / "cmdline").write_bytes(command)
    monkeypatch.setattr(ports, "_PROC", tmp_path)
    assert ports._listener_of(9094) == (9, "nginx")


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["/usr/sbin/nginx", "-g", "daemon off"], "nginx"),
        (["/venv/bin/python3", "-P", "/app/flower_internals.py", "flwr-clientapp"], "python3 flower_internals.py"),
        (["python3.11", "-m", "client", "site", "--token", "secret"], "python3.11 -m client"),
        (["python3", "-c", "print('patient')"], "python3"),
        (["python3"], "python3"),
        ([], "?"),
    ],
)
def test_a_program_is_named_without_its_arguments(arguments: list[str], program: str) -> None:
    assert program_of(arguments) == program


PROXY = {"https_proxy": "http://user:secret@proxy.example.org:3128"}


@pytest.mark.parametrize(
    ("variables", "hub", "status", "words"),
    [
        ({}, "hub.example.org", PASS, "no proxy"),
        ({"HTTPS_PROXY": ""}, "hub.example.org", PASS, "no proxy"),
        (PROXY, "hub.example.org", FAIL, "would catch 127.0.0.1 and hub.example.org"),
        ({**PROXY, "NO_PROXY": "127.0.0.1"}, "hub.example.org", WARN, "would catch hub.example.org"),
        ({**PROXY, "NO_PROXY": "127.0.0.1, .example.org"}, "hub.example.org", PASS, "not for the hub"),
        ({**PROXY, "NO_PROXY": "127.0.0.1,example.org"}, "HUB.example.org", PASS, "not for the hub"),
        ({**PROXY, "NO_PROXY": "127.0.0.1,ample.org"}, "hub.example.org", WARN, "would catch hub.example.org"),
        ({**PROXY, "no_proxy": "*"}, "hub.example.org", PASS, "not for the hub"),
        ({**PROXY, "no_proxy": "127.0.0.1"}, None, PASS, "not for loopback"),
        (PROXY, "127.0.0.1", FAIL, "would catch 127.0.0.1: the site"),
        ({"ALL_PROXY": "socks5://proxy:1080"}, None, FAIL, "ALL_PROXY=proxy:1080 would catch 127.0.0.1"),
        ({"http_proxy": "proxy.example.org:x"}, None, FAIL, "HTTP_PROXY=(unreadable)"),
    ],
)
def test_a_proxy_must_spare_hub_and_loopback(
    variables: dict[str, str], hub: str | None, status: Status, words: str
) -> None:
    line = judge_proxies(variables, hub)
    assert line.status is status
    assert words in line.found
    assert "secret" not in f"{line.found} {line.fix}"


def test_the_fix_keeps_what_was_spared_before() -> None:
    line = judge_proxies({**PROXY, "NO_PROXY": "pacs.local"}, "hub.example.org")
    assert "NO_PROXY=pacs.local,127.0.0.1,hub.example.org" in line.fix


def test_calls_home_are_off_or_unset_or_on() -> None:
    quiet: dict[str, str | None] = dict(QUIET_ENVIRONMENT)
    assert judge_phone_home(quiet).status is PASS
    unset = judge_phone_home({**quiet, "FLWR_TELEMETRY_ENABLED": None})
    assert unset.status is WARN
    assert unset.found.startswith("not set: FLWR_TELEMETRY_ENABLED;")
    on = judge_phone_home({**quiet, "FLWR_DISABLE_UPDATE_CHECK": "0"})
    assert on.status is FAIL
    assert on.found == "switched on: FLWR_DISABLE_UPDATE_CHECK=0"


def test_what_the_environment_said_is_known_after_everything_is_switched_off() -> None:
    assert FOUND_ENVIRONMENT.keys() == QUIET_ENVIRONMENT.keys()
    assert all(os.environ[name] for name in QUIET_ENVIRONMENT)


def test_flowers_folder_is_given_or_at_home_and_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert flower_home({"FLWR_HOME": str(tmp_path / "flower")}) == tmp_path / "flower"
    assert judge_flower_home(tmp_path / "not" / "yet").status is PASS
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert flower_home({}) == tmp_path / ".flwr"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert judge_flower_home(tmp_path).status is FAIL

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert flower_home({}) is None
    assert judge_flower_home(None).status is FAIL
