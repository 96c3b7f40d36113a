"""A rehearsal that is disturbed, or cut off from everything else, ends as one that is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rehearsing import ASC, LIMIT_S, left_processes, rehearse

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(LIMIT_S + 400)]


def _namespace() -> tuple[str, ...]:
    """Command that runs another one where there is loopback and nothing else; none if this machine has no such."""
    unshare = shutil.which("unshare")
    command = (str(unshare), "--map-root-user", "--net", sys.executable, "-m", "tests.loopback_only")
    if unshare is None or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        return ()
    return command


NAMESPACE = _namespace()
only_with_namespaces = pytest.mark.skipif(not NAMESPACE, reason="this machine makes no network namespaces")


@pytest.mark.fault("R-01", "R-02")
def test_a_killed_site_and_a_killed_coordinator_change_no_bit(tmp_path: Path) -> None:
    out = tmp_path / "rehearsal"
    options = (*ASC, "--set", "adapt.num-rounds=2", "--targets", "3")
    verdict, _ = rehearse(*options, "--kill", "site", "--kill", "coordinator", "--out", str(out))
    assert verdict["status"] == "completed"
    assert verdict["weights_identical"] is True
    assert verdict["kills"] == ["site", "coordinator"]
    assert verdict["sites"] == ["source", "target-1", "target-2", "target-3"]
    assert left_processes(out) == []


@pytest.mark.fault("R-01")
def test_a_killed_hub_changes_no_bit(tmp_path: Path) -> None:
    verdict, _ = rehearse(*ASC, "--kill", "hub", "--out", str(tmp_path / "rehearsal"))
    assert verdict["status"] == "completed"
    assert verdict["weights_identical"] is True


@only_with_namespaces
@pytest.mark.fault("outside")
def test_nobody_is_called_outside_the_federation(tmp_path: Path) -> None:
    """Every phase of Diffuse-UDA; the kernel counts whoever asks for a way out."""
    verdict, rest = rehearse("--out", str(tmp_path / "rehearsal"), within=NAMESPACE)
    assert verdict["status"] == "completed"
    assert verdict["weights_identical"] is True
    assert json.loads(rest) == {"IpOutNoRoutes": 0, "Ip6OutNoRoutes": 0, "UdpNoPorts": 0, "Udp6NoPorts": 0}


@only_with_namespaces
@pytest.mark.parametrize(
    ("call", "counter"),
    [
        ("socket.create_connection(('192.0.2.1', 443), 5)", "IpOutNoRoutes"),
        ("socket.create_connection(('2001:db8::1', 443), 5)", "Ip6OutNoRoutes"),
    ],
)
def test_a_call_outside_would_be_counted(call: str, counter: str) -> None:
    command = [*NAMESPACE, sys.executable, "-c", f"import socket; {call}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)[counter] >= 1
