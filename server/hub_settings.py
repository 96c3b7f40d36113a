"""What a hub's administrator decides, in `hub.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from diffuse_uda.deployment.settings_file import HostAndPort, Settings
from diffuse_uda.doctor.address import Address, parse_address
from server.gate import ControlAccess

FEDERATION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MIB = 2**20
DAY_S = 86_400.0
_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


class HubSettings(Settings):
    """Where the hub listens, what it shows, what it lets through."""

    federation: Annotated[str, Field(pattern=FEDERATION_PATTERN)]
    """What this federation is called; a site can refuse to join another one."""
    state_dir: Path
    """For this account alone: database, secrets, admin token, results of runs."""
    certificate: Path
    """PEM; the hub's certificate, then those between it and the CA."""
    key: Path
    """PEM; mode 0600."""
    ca: Path
    """PEM; what the sites hold."""
    listen: HostAndPort = "127.0.0.1:8443"
    """The one port that sites reach. Loopback until the firewall is ready, then `0.0.0.0:8443`."""
    local_name: str | None = None
    """Name in the certificate that means this machine to itself (/etc/hosts), if loopback isn't in there."""
    control: ControlAccess = ControlAccess.TOKEN_AND_LOOPBACK
    """Who may start and stop runs and register sites: with the token and on this machine; either; nobody else."""
    health: HostAndPort = "127.0.0.1:8444"
    """gRPC health service of the link: no TLS, hence loopback."""
    executor_health: HostAndPort = "127.0.0.1:8445"
    """The executor's."""
    longest_outage_s: Annotated[float, Field(ge=60.0, le=7 * DAY_S)] = DAY_S
    """What a site's `outage-patience-s` may be at most; an interrupted upload is kept as long. In seconds."""
    max_request_bytes: Annotated[int, Field(ge=MIB)] = 64 * MIB
    """Longest body of one request. Weights travel in pieces of 5 MB."""

    @property
    def listens_on(self) -> Address:
        """The address of the port that sites reach."""
        return parse_address(self.listen)

    @property
    def own_address(self) -> Address:
        """How the executor and the administrator's commands reach the hub from this machine."""
        listens_on = self.listens_on
        host = self.local_name or _THIS_MACHINE.get(listens_on.host, listens_on.host)
        return Address(host=host, port=listens_on.port)

    @property
    def admin_token(self) -> Path:
        """File with the token for the control interface; made at the first start."""
        return self.state_dir / "admin.token"

    @property
    def executor_secret(self) -> Path:
        """File with the secret that the executor proves itself with."""
        return self.state_dir / "executor.secret"

    @property
    def database(self) -> Path:
        """Flower's state: registered nodes, runs, messages on their way."""
        return self.state_dir / "state.db"

    @property
    def flower_home(self) -> Path:
        """Flower's folder of the hub."""
        return self.state_dir / "flower"

    @property
    def admin_home(self) -> Path:
        """Flower's folder of the administrator's commands."""
        return self.state_dir / "admin"
