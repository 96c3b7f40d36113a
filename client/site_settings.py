"""What a hospital decides about its site, in `site.toml`, outside the code that travels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from client.site import AUDIT_LOG, SIGNING_KEY, EvaluationPart
from diffuse_uda.deployment.settings_file import HostAndPort, Port, Settings
from diffuse_uda.doctor.address import Address
from diffuse_uda.types import Scalar, SiteRole

DAY_S = 86_400.0


class SiteSettings(Settings):
    """Who the site is, whom it calls, which code it runs, what may leave."""

    site_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    role: SiteRole
    data_dir: Path
    """Folder in the nnU-Net layout; only read."""
    workspace: Path
    """For what stays: prepared cases, teacher, pseudo-labels, synthetic pairs."""
    state_dir: Path
    """For this account alone: secrets, Flower's folder."""
    hub: HostAndPort
    """As the hub's certificate names it."""
    ca: Path
    """The federation's CA, PEM, from the coordinator."""
    fingerprint: str | None = None
    """SHA-256 of the CA or of the hub's certificate, told by telephone: no other federation is joined then."""
    federation: str | None = None
    """What the hub calls its federation; no other one is joined then."""
    key: Path
    """This site's private key, OpenSSH form, mode 0600; its public half is registered at the hub."""
    approved_bundles: Path
    """The hospital's list of app bundles that may run here."""
    egress_policy: Path | None = None
    """The hospital's word on what may leave; it narrows what the study asks for."""
    signing_key: Path | None = None
    """Private key that signs what leaves; absent: `signing-key.pem` in `state-dir`, made at the first start."""
    audit_log: Path | None = None
    """Where everything that came and went is written down; absent: `audit.jsonl` in `state-dir`."""
    allow_style_blocks: bool = False
    num_threads: Annotated[int, Field(ge=1)] | None = None
    evaluation_part: EvaluationPart = "all"
    follow_links: bool = False
    """Whether links in `data-dir` may lead out of it."""
    outage_patience_s: Annotated[float, Field(ge=60.0, le=7 * DAY_S)] = 4 * 3600.0
    """How long the hub counts on this site without a sign of life; the hub's `longest-outage-s` is the limit. In
    seconds."""
    runtime_port: Port = 9094
    """Port on loopback between the node and its executor."""
    health_port: Port = 9095
    """gRPC health service of the node, on loopback."""
    executor_health_port: Port = 9096
    """The executor's."""

    @property
    def runtime(self) -> Address:
        """Where the executor finds the node."""
        return Address(host="127.0.0.1", port=self.runtime_port)

    @property
    def health(self) -> Address:
        """Where the node's health service listens."""
        return Address(host="127.0.0.1", port=self.health_port)

    @property
    def executor_health(self) -> Address:
        """Where the executor's health service listens."""
        return Address(host="127.0.0.1", port=self.executor_health_port)

    @property
    def executor_secret(self) -> Path:
        """File with the secret that the executor proves itself with."""
        return self.state_dir / "executor.secret"

    @property
    def signs_with(self) -> Path:
        """The signing key's file."""
        return self.signing_key or self.state_dir / SIGNING_KEY

    @property
    def flower_home(self) -> Path:
        """Flower's folder of the site."""
        return self.state_dir / "flower"

    @property
    def node_config_file(self) -> Path:
        """What the app is told of this site, as Flower reads it."""
        return self.state_dir / "node-config.toml"

    def node_config(self) -> dict[str, Scalar]:
        """What the app is told of this site: see `client.site.open_site`."""
        optional: dict[str, Scalar | None] = {
            "num-threads": self.num_threads,
            "egress-policy": None if self.egress_policy is None else str(self.egress_policy),
        }
        return {
            "site-id": self.site_id,
            "role": self.role.value,
            "data-dir": str(self.data_dir),
            "workspace": str(self.workspace),
            "allow-style-blocks": self.allow_style_blocks,
            "evaluation-part": self.evaluation_part,
            "follow-links": self.follow_links,
            "signing-key": str(self.signs_with),
            "audit-log": str(self.audit_log or self.state_dir / AUDIT_LOG),
            **{key: value for key, value in optional.items() if value is not None},
        }
