"""A site's private folder: writable, kept through a crash, read by nobody else, used by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.run_lock import LOCK_FILE
from diffuse_uda.doctor.mounts import NETWORK_TYPES, PASSING_TYPES, Mount
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

SLOW_S = 1.0
_CHECK = "workspace"
_PROBE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """What came of writing a mebibyte, waiting for the disk, and reading it back."""

    error: str | None
    """The system's word for what went wrong, or None."""
    took_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """What a workspace's lock says."""

    is_held: bool
    holder: str
    """Process, host and beginning; empty if nobody wrote it down."""
    host: str


def write_and_flush(folder: Path, monotonic_s: Callable[[], float]) -> Writing:
    """Do with a file of the doctor's own what a run does with every result; nothing stays."""
    probe = folder / f"doctor-{secrets.token_hex(8)}"
    content = secrets.token_bytes(_PROBE_BYTES)
    started = monotonic_s()
    error: str | None = None
    try:
        with replaced_atomically(probe, mode=0o600) as draft:
            draft.write_bytes(content)
        if probe.read_bytes() != content:
            error = "what was read is not what was written"
    except OSError as failure:
        error = failure.strerror or type(failure).__name__
    with contextlib.suppress(OSError):
        probe.unlink()
    return Writing(error=error, took_s=monotonic_s() - started)


def judge_writing(folder: Path, writing: Writing) -> Verdict:
    """What a run writes reaches the disk."""
    wanted = f"a folder that this account may write to, where a file reaches the disk within {SLOW_S:g} s"
    if writing.error is not None:
        fix = f"mkdir -p {folder}, owned by the site's account; mount it writable; look at the disk and its quota"
        return failed(_CHECK, f"{folder}: {writing.error}", wanted, fix)
    found = f"{folder}: written and flushed in {1000 * writing.took_s:.0f} ms"
    if writing.took_s > SLOW_S:
        return warned(_CHECK, found, wanted, "use a local disk: every round waits for this many times")
    return passed(_CHECK, found, wanted)


def judge_file_system(mount: Mount | None) -> Verdict:
    """What is flushed is on a disk of this machine, and stays there."""
    check, wanted = "workspace file system", "a local disk (ext4, xfs, btrfs, zfs)"
    if mount is None:
        return warned(check, "this system does not tell", wanted, "make sure that the workspace is on a local disk")
    if mount.kind in NETWORK_TYPES or mount.kind.startswith("fuse."):
        fix = "move it to a local disk: a network share may say 'written' too early, and its locks may not hold"
        return warned(check, mount.kind, wanted, fix)
    if mount.kind in PASSING_TYPES:
        fix = "mount a volume for it: this one is gone when the machine or the container starts anew"
        return warned(check, mount.kind, wanted, fix)
    if "ro" in mount.options:
        return failed(check, f"{mount.kind}, mounted read-only", wanted, "mount it writable")
    return passed(check, mount.kind, wanted)


def judge_privacy(folder: Path, data: Path | None) -> Verdict:
    """Prepared scans are seen by this account alone, and do not lie among the scans they came from."""
    check, wanted = "workspace privacy", "mode 0700, outside the data folder"
    if data is not None and folder.resolve().is_relative_to(data.resolve()):
        fix = "choose a folder elsewhere: the data folder is only read"
        return failed(check, f"{folder} lies inside the data folder", wanted, fix)
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError:
        return failed(check, "no such folder, or not for this account", wanted, f"mkdir -m 700 {folder}")
    found = f"mode {mode:04o}"
    if mode & 0o002:
        return failed(check, f"{found}: any account may put files there", wanted, f"chmod 700 {folder}")
    if mode & 0o077:
        return warned(check, f"{found}: others may look at prepared scans", wanted, f"chmod 700 {folder}")
    return passed(check, found, wanted)


def observe_lock(folder: Path) -> Lock | None:
    """Ask whether a run is at work in a folder, without disturbing it; None if no run ever was."""
    path = folder / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two doctors are no run
        is_held = False
    except OSError:
        is_held = True
    finally:
        os.close(descriptor)  # and with it the lock, if it was free
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        words = f"process {int(told['pid'])} on {told['host']} since {told['since']}"
        return Lock(is_held=is_held, holder=words, host=str(told["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Lock(is_held=is_held, holder="", host="")


def judge_lock(lock: Lock | None, here: str | None = None) -> Verdict:
    """No other run works in the workspace.

    Args:
        lock: What the lock says.
        here: Name of this machine.
    """
    check, wanted = "workspace lock", "no run at work, or the one of this site"
    if lock is None or not (lock.is_held or lock.holder):
        return passed(check, "no run at work", wanted)
    holder = lock.holder or "a run that left no name"
    if not lock.is_held:
        fix = "look into its log; the next run takes over what it had committed"
        return warned(check, f"{holder} did not end properly", wanted, fix)
    if lock.host and lock.host != (here or socket.gethostname()):
        fix = "give every machine a workspace of its own on a local disk"
        return failed(check, f"held from another machine: {holder}", wanted, fix)
    return warned(check, f"held by {holder}", wanted, "a second run would be refused until this one has ended")
