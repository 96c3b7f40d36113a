"""Real processes behind a line that is cut in the middle of an upload, or slow: the same weights at the end."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from diffuse_uda.types import Scalar
from server.ending import RunEnd
from server.history import HISTORY_FILE, SiteState
from simulations.engines.in_process import run_in_process
from simulations.engines.own_processes import free_ports
from simulations.rehearsal.performance import Performance
from simulations.rehearsal.plan import Rehearsal
from simulations.rehearsal.services import cleaned_up
from simulations.rehearsal.stage import SOURCE, copy_app, set_stage
from simulations.rehearsal.weights import differing_models
from tests.troubled_line import Trouble, troubled_line

LIMIT_S = 3000.0
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(LIMIT_S + 600)]

STUDY: dict[str, Scalar] = {"method": "asc", "segmenter.channels": "[16, 32]", "federation.round-timeout-s": 1800.0}
"""A model of some hundred kilobytes, so that an upload takes several pieces."""
LINES = {
    "cut for 30 s": Trouble(cut_after_bytes=400_000, cut_s=30.0),
    "cut for 10 minutes": Trouble(cut_after_bytes=400_000, cut_s=600.0),
    "10 Mbit/s, 300 ms": Trouble(delay_s=0.3, bytes_per_s=1.25e6),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("cut for 30 s", marks=pytest.mark.fault("R-06")),
        pytest.param("cut for 10 minutes", marks=pytest.mark.fault("R-06")),
        pytest.param("10 Mbit/s, 300 ms", marks=pytest.mark.fault("R-07")),
    ],
)
def test_a_troubled_line_costs_time_and_no_bit(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    trouble = LINES[name]
    # A site that is cut off for ten minutes must be missed for longer than that before it is given up.
    patience = {"federation.idle-timeout-s": trouble.cut_s + 300.0}
    plan = Rehearsal(folder=tmp_path / "rehearsal", changes={**STUDY, **patience}, limit_s=LIMIT_S)
    plan.folder.mkdir()
    scans = plan.write_scans()
    nodes: list[dict[str, Scalar]] = [
        {
            "site-id": site_id,
            "role": "source" if site_id == SOURCE else "target",
            "data-dir": str(data_dir),
            "workspace": str(tmp_path / "alone" / site_id),
        }
        for site_id, data_dir in scans.items()
    ]
    run_in_process({**plan.study, "run-dir": str(tmp_path / "alone" / "run")}, nodes, on_event=lambda _event: None)
    port = free_ports(1)[0]
    stage = set_stage(plan.folder, scans, app=copy_app(tmp_path / "app"), hub_port=port)
    settings = tomllib.loads(stage.hub_settings.read_text(encoding="utf-8"))
    hub_port = int(settings["listen"].rpartition(":")[2])
    with troubled_line(hub_port, port, trouble) as line, cleaned_up() as running:
        show = Performance(stage=stage, running=running, say=lambda _line: None, until=time.monotonic() + LIMIT_S)
        show.open()
        began = time.monotonic()
        assert show.play(plan.study) is RunEnd.COMPLETED
        record_property(f"{name}:_run_s", round(time.monotonic() - began))
        record_property(f"{name}:_MB_from_sites", round(line.sent_by_sites / 1e6, 1))
        running.end()
    assert line.num_cuts == (trouble.cut_after_bytes is not None)
    assert differing_models(tmp_path / "alone" / "run", stage.run_dir) == []
    history = (stage.run_dir / HISTORY_FILE).read_text(encoding="utf-8")
    assert {state for state in SiteState if f'"state": "{state.value}"' in history} == {SiteState.USED}
