"""A site: who it is, where its data are, where its private work goes. All of it is the site's own node-config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import Scalar, SiteRole

EvaluationPart = Literal["development", "test", "all"]
SIGNING_KEY = "signing-key.pem"
AUDIT_LOG = "audit.jsonl"
"""Where both are in the workspace, unless the node-config names other places."""

EVALUATION_PARTS: tuple[EvaluationPart, ...] = get_args(EvaluationPart)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One hospital taking part, as its own machine describes it."""

    site_id: str
    role: SiteRole
    data_dir: Path
    """Folder in the nnU-Net layout; only read."""
    workspace: Path
    """Folder for what stays: prepared cases, teacher, pseudo-labels, synthetic pairs, predictions."""
    allow_style_blocks: bool = False
    """The site's own word on publishing a mean amplitude block; the study's alone is not enough."""
    num_threads: int | None = None
    """Threads on this machine; None leaves it to the study's configuration."""
    shares_machine: bool = False
    """Whether the sites of a round share this machine's cores, as in a simulation; a hospital has its machine alone."""
    follow_links: bool = False
    """Whether links in the folder may lead out of it."""
    evaluation_part: EvaluationPart = "all"
    """Which labelled held-out scans `evaluate` scores: `development`, `test` or `all`."""
    egress_policy: Path | None = None
    """TOML file with the site's own word on what may leave; None leaves it to the study. No part of the app."""
    signing_key: Path
    """Private key that signs every message; made at the first start if missing."""
    audit_log: Path
    """Where everything that came in and went out is written down."""


def open_site(node_config: Mapping[str, Scalar]) -> Site:
    """Read a site from Flower's node-config (`site-id`, `role`, `data-dir`, `workspace`, ...).

    Raises:
        ConfigError: If a key is missing, unknown, or has a value that means nothing.
    """
    known = {
        "site-id",
        "role",
        "data-dir",
        "workspace",
        "allow-style-blocks",
        "num-threads",
        "shares-machine",
        "evaluation-part",
        "follow-links",
        "egress-policy",
        "signing-key",
        "audit-log",
        "partition-id",
        "num-partitions",
    }
    if unknown := sorted(node_config.keys() - known):
        msg = f"unknown node-config keys {unknown}; known: {sorted(known)}"
        raise ConfigError(msg)
    if missing := sorted({"site-id", "role", "data-dir", "workspace"} - node_config.keys()):
        msg = f'node-config lacks {missing}; start the site with --node-config \'site-id="leeds" role="target" ...\''
        raise ConfigError(msg)
    try:
        role = SiteRole(str(node_config["role"]))
    except ValueError:
        msg = f"node-config role: found {node_config['role']!r}; wanted one of {[role.value for role in SiteRole]}"
        raise ConfigError(msg) from None
    part = str(node_config.get("evaluation-part", "all"))
    if part not in EVALUATION_PARTS:
        msg = f"node-config evaluation-part: found {part!r}; wanted one of {list(EVALUATION_PARTS)}"
        raise ConfigError(msg)
    num_threads = node_config.get("num-threads")
    workspace = Path(str(node_config["workspace"]))
    policy = node_config.get("egress-policy")
    return Site(
        site_id=str(node_config["site-id"]),
        role=role,
        data_dir=Path(str(node_config["data-dir"])),
        workspace=workspace,
        allow_style_blocks=bool(node_config.get("allow-style-blocks", False)),
        num_threads=None if num_threads is None else int(num_threads),
        shares_machine=bool(node_config.get("shares-machine", False)),
        follow_links=bool(node_config.get("follow-links", False)),
        evaluation_part=part,
        egress_policy=None if policy is None else Path(str(policy)),
        signing_key=Path(str(node_config.get("signing-key", workspace / SIGNING_KEY))),
        audit_log=Path(str(node_config.get("audit-log", workspace / AUDIT_LOG))),
    )
