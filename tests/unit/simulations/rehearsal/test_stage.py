"""What hub and sites are given is what an administrator and a hospital would write."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from client.bundle_approval import read_approved
from client.site_settings import SiteSettings
from diffuse_uda.deployment.settings_file import read_settings
from server.gate import ControlAccess
from server.hub_settings import HubSettings
from simulations.rehearsal import stage as stage_module
from simulations.rehearsal.stage import set_stage

BUNDLE = "a" * 64


@pytest.fixture(autouse=True)
def _bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "app_bundle_sha256", lambda _app: BUNDLE)


def test_settings_say_who_calls_whom(tmp_path: Path) -> None:
    scans = {name: tmp_path / "scans" / name for name in ("source", "target-1")}
    stage = set_stage(tmp_path, scans, app=tmp_path)
    hub = read_settings(stage.hub_settings, HubSettings)
    sites = [read_settings(Path(site.command[-1]), SiteSettings) for site in stage.sites]
    assert [site.role.value for site in sites] == ["source", "target"]
    assert {site.hub for site in sites} == {hub.listen}
    assert {site.federation for site in sites} == {hub.federation}
    assert hub.control is ControlAccess.TOKEN_AND_LOOPBACK
    assert all(read_approved(site.approved_bundles) == {BUNDLE: "rehearsed"} for site in sites)
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in (hub.key, *(site.key for site in sites)))
    assert [site.data_dir for site in sites] == list(scans.values())
    assert all(path.is_file() for path in stage.public_keys.values())


def test_nobody_shares_a_port_or_a_folder(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, {name: tmp_path / name for name in ("source", "target-1", "target-2")}, app=tmp_path)
    hub = read_settings(stage.hub_settings, HubSettings)
    sites = [read_settings(Path(site.command[-1]), SiteSettings) for site in stage.sites]
    ports = [hub.listen, hub.health, hub.executor_health]
    ports += [str(port) for site in sites for port in (site.runtime, site.health, site.executor_health)]
    assert len(set(ports)) == 3 + 3 * 3
    assert len({hub.state_dir, *(site.state_dir for site in sites), *(site.workspace for site in sites)}) == 7
    assert len({service.mark for service in (stage.hub, *stage.sites)}) == 4


def test_sites_can_be_sent_to_another_port(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, {"source": tmp_path / "source"}, app=tmp_path, hub_port=4242)
    assert read_settings(Path(stage.sites[0].command[-1]), SiteSettings).hub == "127.0.0.1:4242"
    assert read_settings(stage.hub_settings, HubSettings).listen != "127.0.0.1:4242"
