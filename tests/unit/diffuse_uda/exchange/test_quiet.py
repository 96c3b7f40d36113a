"""Nothing calls home."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["client.client_app", "server.server_app", "simulations.engines.in_process"])
def test_every_entry_point_switches_the_calls_off_before_flower_is_imported(module: str) -> None:
    code = (
        "import sys, os\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'flwr':\n"
        "            names = ('FLWR_TELEMETRY_ENABLED', 'FLWR_DISABLE_UPDATE_CHECK')\n"
        "            print(*map(os.environ.get, names), flush=True)\n"
        "            os._exit(0)\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import {module}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLWR_", "RAY_"))}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == "0 1\n"


def test_the_settings_can_be_given_to_a_shell() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "diffuse_uda.exchange.quiet"], capture_output=True, text=True, check=True
    )
    assert "export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1\n" in run.stdout
    assert "export FLWR_TELEMETRY_ENABLED=0\n" in run.stdout


def test_a_choice_that_was_made_outside_is_kept() -> None:
    code = "import os, diffuse_uda.exchange.quiet; print(os.environ['FLWR_TELEMETRY_ENABLED'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "1"},
    )
    assert run.stdout == "1\n"
