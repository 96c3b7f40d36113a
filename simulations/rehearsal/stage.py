"""What a rehearsal's hub and sites are given: certificates, keys, settings, the hospitals' approval of the code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client.bundle_approval import approve
from diffuse_uda.deployment.trial_certificates import Trial, write_trial
from diffuse_uda.doctor.address import Address
from diffuse_uda.exchange.flower_internals import app_bundle_sha256
from diffuse_uda.types import Scalar
from simulations.engines.own_processes import free_ports
from simulations.rehearsal.services import CHECKOUT, Service

FEDERATION = "rehearsal"
SOURCE = "source"
_DAYS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Hub and sites, ready to be started."""

    hub: Service
    hub_settings: Path
    hub_health: tuple[Address, ...]
    sites: tuple[Service, ...]
    """The source first."""
    public_keys: Mapping[str, Path]
    """By site."""
    run_dir: Path
    """Of the run, on the hub."""
    app: Path
    """The code that travels."""


def copy_app(folder: Path) -> Path:
    """Copy the code that travels: what is edited in the checkout meanwhile is not what the hospitals approved.

    Flower also looks at every file below an app's folder, which for a checkout is a whole virtual environment.

    Returns:
        The folder, which is made.
    """
    for package in ("server", "client", "diffuse_uda", "simulations"):
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copyfile(CHECKOUT / name, folder / name)
    return folder


def set_stage(folder: Path, scans: Mapping[str, Path], *, app: Path, hub_port: int | None = None) -> Stage:
    """Write everything that a hub and its sites need, as an administrator and the hospitals would.

    Args:
        folder: Gets `ca/`, `hub/`, `sites/<site>/`.
        scans: Folders by site, the source's first.
        app: The app whose bundle the hospitals approve.
        hub_port: Where the sites call; absent: where the hub listens. A recording proxy may stand between.
    """
    write_trial(folder, Trial(hub_names=("localhost",), site_ids=tuple(scans), days=_DAYS), now=datetime.now(tz=UTC))
    ports = free_ports(3 + 3 * len(scans))
    hub = folder / "hub"
    hub_settings = hub / "hub.toml"
    write_toml(
        hub_settings,
        {
            "federation": FEDERATION,
            "state-dir": "state",
            "certificate": "hub.pem",
            "key": "hub.key",
            "ca": "ca.pem",
            "listen": f"127.0.0.1:{ports[0]}",
            "health": f"127.0.0.1:{ports[1]}",
            "executor-health": f"127.0.0.1:{ports[2]}",
        },
    )
    bundle = app_bundle_sha256(app)
    sites = []
    for index, (site_id, data_dir) in enumerate(scans.items()):
        own = folder / "sites" / site_id
        approve(bundle, own / "approved-bundles.txt", note="rehearsed")
        runtime, health, executor_health = ports[3 + 3 * index : 6 + 3 * index]
        write_toml(
            own / "site.toml",
            {
                "site-id": site_id,
                "role": "source" if site_id == SOURCE else "target",
                "data-dir": str(data_dir.resolve()),
                "workspace": "workspace",
                "state-dir": "state",
                "hub": f"127.0.0.1:{hub_port or ports[0]}",
                "ca": "ca.pem",
                "federation": FEDERATION,
                "key": f"{site_id}.key",
                "approved-bundles": "approved-bundles.txt",
                "runtime-port": runtime,
                "health-port": health,
                "executor-health-port": executor_health,
            },
        )
        sites.append(Service(name=site_id, command=("client", "site", str(own / "site.toml")), folder=own))
    return Stage(
        hub=Service(name="hub", command=("server", "hub", str(hub_settings)), folder=hub),
        hub_settings=hub_settings,
        hub_health=tuple(Address(host="127.0.0.1", port=port) for port in ports[1:3]),
        sites=tuple(sites),
        public_keys={site_id: folder / "sites" / site_id / f"{site_id}.pub" for site_id in scans},
        run_dir=hub / "state" / "runs" / "rehearsal",
        app=app,
    )


def write_toml(path: Path, values: Mapping[str, Scalar]) -> None:
    """Write flat keys; JSON's scalars are TOML's."""
    lines = (f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in values.items())
    path.write_text("".join(lines), encoding="utf-8")
