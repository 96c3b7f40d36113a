"""Which checks a command line asks for, and all of them, whatever any of them finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from diffuse_uda.config import StudyConfig
from diffuse_uda.doctor.accelerator import judge_accelerator, observe_accelerator
from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.certificates import judge_dates, judge_key_match, judge_names, read_certificates
from diffuse_uda.doctor.clock import Clocks, judge_skew, judge_steadiness
from diffuse_uda.doctor.data_folder import QuickLook, judge_data, look_at
from diffuse_uda.doctor.disk import (
    Cases,
    check_shared_memory,
    judge_temporary_folder,
    judge_workspace_room,
    needed_bytes,
    observe_room,
    temporary_folder,
)
from diffuse_uda.doctor.environment import flower_home, judge_flower_home, judge_phone_home, judge_proxies
from diffuse_uda.doctor.grpc_health import judge_grpc_health, probe_health
from diffuse_uda.doctor.hub import call_hub
from diffuse_uda.doctor.hub_verdicts import Expected, judge_federation, judge_health, judge_reachable, judge_tls
from diffuse_uda.doctor.keys import judge_key_file, judge_site_key, observe_key_file, read_key
from diffuse_uda.doctor.memory import check_memory
from diffuse_uda.doctor.mounts import mount_of, observe_mounts
from diffuse_uda.doctor.ports import judge_port, try_to_listen
from diffuse_uda.doctor.trust import judge_trust
from diffuse_uda.doctor.verdict import Status, Verdict, failed
from diffuse_uda.doctor.versions import check_versions
from diffuse_uda.doctor.workspace import (
    judge_file_system,
    judge_lock,
    judge_privacy,
    judge_writing,
    observe_lock,
    write_and_flush,
)
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.quiet import FOUND_ENVIRONMENT
from diffuse_uda.types import SiteRole

DEFAULT_LISTENING = tuple(Address(host="127.0.0.1", port=port) for port in (9094, 9095, 9096))
"""Where a site's own processes meet: the node's runtime interface, its health service, the executor's."""
_ASSUMED = Cases(num_cases=50, voxels=100**3)
_ASSUMED_CLASSES = 10
_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """What is to be looked at; what is None is left out."""

    study: Path | None = None
    """A study file; without one, the preset small."""
    data: Path | None = None
    role: SiteRole = SiteRole.TARGET
    """Role of the centre in `data`."""
    workspace: Path | None = None
    hub: Address | None = None
    ca: Path | None = None
    certificate: Path | None = None
    keys: tuple[Path, ...] = ()
    """With a certificate, the first one is its key; the others are a site's."""
    expected: Expected = field(default_factory=Expected)
    health: Address | None = None
    """A gRPC health service."""
    listening: tuple[Address, ...] = DEFAULT_LISTENING
    """Addresses that this machine will listen on."""
    clocks: Clocks = field(default_factory=Clocks)
    timeout_s: float = _TIMEOUT_S
    """For every step of a conversation."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def left_out(wanted: Examination) -> tuple[str, ...]:
    """What nobody asked for, with the option that would."""
    told = {
        "data folder (--data)": wanted.data,
        "workspace and disk (--workspace)": wanted.workspace,
        "keys (--key)": wanted.keys,
        # The hub itself looks at its own certificate instead.
        "hub, its certificate, the federation and the clock against it (--hub, --ca)": wanted.hub or wanted.certificate,
    }
    return tuple(words for words, given in told.items() if not given)


def examine(wanted: Examination) -> list[Verdict]:
    """Run every check; one that breaks down is a failure of its own and stops no other.

    Returns:
        Verdicts in the order of the page.
    """
    first = wanted.clocks.read()
    study = _study(wanted.study)
    verdicts = [study] if isinstance(study, Verdict) else []
    config = StudyConfig() if isinstance(study, Verdict) else study
    seen = _look(wanted)
    look = None if isinstance(seen, Verdict) else seen
    groups: dict[str, Callable[[], Iterable[Verdict]]] = {
        "software": check_versions,
        "machine": lambda: _machine(config, look),
        "data": lambda: [seen] if isinstance(seen, Verdict) else [judge_data(seen, wanted.role)] if seen else [],
        "workspace": lambda: _workspace(wanted, config, look),
        "keys and certificates": lambda: _papers(wanted),
        "hub": lambda: _hub(wanted),
        "network": lambda: _network(wanted),
        "clock": lambda: [judge_steadiness(first, wanted.clocks.read())],
    }
    for name, group in groups.items():
        verdicts += _survived(name, group)
    return verdicts


def _study(path: Path | None) -> StudyConfig | Verdict:
    try:
        return StudyConfig() if path is None else StudyConfig.from_toml(path)
    except ConfigError as error:
        found = str(error)
    return failed("study", found, "a study that can be run", "correct the file; the preset small is assumed below")


def _look(wanted: Examination) -> QuickLook | Verdict | None:
    try:
        return None if wanted.data is None else look_at(wanted.data, wanted.role)
    except Exception as error:  # noqa: BLE001 - a damaged scan must not end the examination
        return _broken_down("data folder", error)


def _survived(name: str, group: Callable[[], Iterable[Verdict]]) -> Iterator[Verdict]:
    try:
        yield from group()
    except Exception as error:  # noqa: BLE001 - a doctor who faints helps nobody
        yield _broken_down(name, error)


def _broken_down(name: str, error: Exception) -> Verdict:
    """The kind alone: an exception's words may hold a patient's path."""
    found = f"the checks broke down ({type(error).__name__})"
    return failed(name, found, "checks that can be carried out", "see to the other lines first; else report this page")


def _machine(config: StudyConfig, look: QuickLook | None) -> Iterator[Verdict]:
    yield judge_accelerator(observe_accelerator(), config)
    on_gpu = torch.cuda.is_available() and config.compute.device != "cpu"
    yield check_memory(config, _num_classes(look), torch.device("cuda" if on_gpu else "cpu"))
    yield check_shared_memory()
    folder = temporary_folder()
    yield judge_temporary_folder(folder, None if folder is None else mount_of(folder, observe_mounts()))


def _workspace(wanted: Examination, config: StudyConfig, look: QuickLook | None) -> Iterator[Verdict]:
    folder = wanted.workspace
    if folder is None:
        return
    yield judge_writing(folder, write_and_flush(folder, wanted.clocks.monotonic_s))
    if folder.is_dir():
        yield judge_privacy(folder, wanted.data)
        yield judge_file_system(mount_of(folder, observe_mounts()))
        yield judge_lock(observe_lock(folder))
        needed = needed_bytes(config, _cases(config, look), _num_classes(look))
        yield judge_workspace_room(observe_room(folder), needed)


def _papers(wanted: Examination) -> Iterator[Verdict]:
    for path in wanted.keys:
        yield judge_key_file(path, observe_key_file(path))
    site_keys = wanted.keys if wanted.certificate is None else wanted.keys[1:]
    for path in site_keys:
        yield judge_site_key(path, read_key(path))
    now = datetime.fromtimestamp(wanted.clocks.wall_s(), UTC)
    if wanted.ca is not None:
        yield from _dates("CA", wanted.ca, now)
    if wanted.certificate is None:
        return
    yield from _dates("certificate", wanted.certificate, now)
    certificates = read_certificates(wanted.certificate)
    if isinstance(certificates, str):
        return
    yield judge_names(certificates[0])
    if not wanted.keys:
        return
    match = judge_key_match(certificates[0], read_key(wanted.keys[0]))
    yield match
    if match.status is Status.PASS and wanted.ca is not None:
        host = None if wanted.hub is None else wanted.hub.host
        yield judge_trust(wanted.certificate, wanted.keys[0], wanted.ca, host)


def _dates(check: str, path: Path, now: datetime) -> Iterator[Verdict]:
    certificates = read_certificates(path)
    if isinstance(certificates, str):
        yield failed(check, f"{path} {certificates}", "certificates in PEM form", "ask the coordinator for the file")
        return
    soonest = min(certificates, key=lambda certificate: certificate.not_valid_after_utc)
    yield judge_dates(check, soonest, now)


def _hub(wanted: Examination) -> Iterator[Verdict]:
    if wanted.hub is not None:
        answer = call_hub(wanted.hub, wanted.ca, clocks=wanted.clocks, timeout_s=wanted.timeout_s)
        reachable = judge_reachable(wanted.hub, answer)
        yield reachable
        if reachable.status is Status.FAIL:
            return
        believed = judge_tls(wanted.hub, answer, has_ca=wanted.ca is not None)
        yield believed
        if believed.status is Status.FAIL or answer.certificate is None:
            return
        yield judge_dates("hub certificate", answer.certificate, datetime.fromtimestamp(wanted.clocks.wall_s(), UTC))
        known = [] if wanted.ca is None else read_certificates(wanted.ca)
        yield judge_federation(answer, known if isinstance(known, list) else [], wanted.expected)
        yield judge_health(answer)
        yield judge_skew(answer.hub_s, answer.here_s)


def _network(wanted: Examination) -> Iterator[Verdict]:
    if wanted.health is not None:
        yield judge_grpc_health(wanted.health, probe_health(wanted.health, timeout_s=wanted.timeout_s))
    for address in wanted.listening:
        yield judge_port(address, try_to_listen(address))
    yield judge_proxies(wanted.environment, None if wanted.hub is None else wanted.hub.host)
    yield judge_phone_home(FOUND_ENVIRONMENT)
    yield judge_flower_home(flower_home(wanted.environment))


def _num_classes(look: QuickLook | None) -> int:
    return (look.num_classes if look else None) or _ASSUMED_CLASSES


def _cases(config: StudyConfig, look: QuickLook | None) -> Cases:
    voxels = None if look is None else look.working_voxels(config.grid.spacing_mm)
    if look is None or voxels is None:
        return _ASSUMED
    return Cases(num_cases=look.num_training + look.num_held_out, voxels=voxels)
