"""A hundred faults at real sites; a proxy in the place of the hub reads every byte that leaves them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from server.ending import RunEnd
from simulations.engines.own_processes import free_ports
from simulations.rehearsal.performance import Performance
from simulations.rehearsal.plan import Rehearsal
from simulations.rehearsal.services import CHECKOUT, cleaned_up
from simulations.rehearsal.stage import copy_app, set_stage
from tests.leaky_app import ANSWERS
from tests.planted import PATIENT, holds_a_name, planted_copy
from tests.planted_faults import FAULTS
from tests.recording_proxy import recording_proxy

LIMIT_S = 7200.0
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(LIMIT_S + 300)]


def _leaky_checkout(folder: Path) -> Path:
    """This checkout with the leaky apps in place of its own."""
    copy_app(folder)
    (folder / "tests").mkdir()
    for file in (CHECKOUT / "tests").glob("*.py"):
        shutil.copy(file, folder / "tests")
    project = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    own = {"server.server_app:app": "tests.leaky_app:server_app", "client.client_app:app": "tests.leaky_app:client_app"}
    for before, after in own.items():
        assert project.count(f'"{before}"') == 1
        project = project.replace(before, after)
    project = project.replace('"LICENSE"]', '"LICENSE", "tests/*.py"]')
    assert '"tests/*.py"]' in project
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    return folder


@pytest.mark.fault("leaks")
def test_no_byte_on_the_wire_holds_a_patient_s_name(tmp_path: Path) -> None:
    assert len(FAULTS) >= 100
    plan = Rehearsal(folder=tmp_path / "rehearsal", changes={"federation.join-timeout-s": 600.0})
    plan.folder.mkdir()
    scans = {site_id: planted_copy(folder, plan.folder) for site_id, folder in plan.write_scans().items()}
    app = _leaky_checkout(tmp_path / "app")
    port = free_ports(1)[0]
    stage = set_stage(plan.folder, scans, app=app, hub_port=port)
    hub_port = int(stage.hub_settings.read_text().partition('"listen" = "127.0.0.1:')[2].partition('"')[0])
    with recording_proxy(stage.hub.folder, hub_port, port) as recording, cleaned_up() as running:
        show = Performance(stage=stage, running=running, say=lambda _line: None, until=time.monotonic() + LIMIT_S)
        show.open()
        assert show.play(plan.study) is RunEnd.COMPLETED
        running.end()
    heard = json.loads((stage.run_dir / ANSWERS).read_text(encoding="utf-8"))
    left = [bytes(connection) for connection in recording.from_sites]
    assert [holds_a_name(data) for data in left if holds_a_name(data)] == []
    assert not any(holds_a_name(bytes(connection)) for connection in recording.to_sites)
    kept = [path for path in stage.hub.folder.rglob("*") if path.is_file()]
    assert [path.name for path in kept if holds_a_name(path.read_bytes())] == []

    # The proxy did see what there was to see, and the faults did happen.
    travelled = b"".join(left)
    assert travelled.count(b"POST /v1/fleet/push-messages") >= len(FAULTS)
    assert b"content-encoding" not in travelled.lower()
    assert b"target-1" in travelled
    assert heard.keys() == FAULTS.keys()
    unharmed = {name for name, (outcome, _) in heard.items() if outcome == "answered"}
    assert unharmed <= {name for name, fault in FAULTS.items() if fault.is_answered}
    site_logs = "".join(site.log.read_text(encoding="utf-8", errors="replace") for site in stage.sites)
    assert site_logs.count(PATIENT) >= 10
