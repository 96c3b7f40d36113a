"""Room on disks: the workspace against what a run keeps there, shared memory, the folder for temporary files."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.config import StudyConfig
from diffuse_uda.doctor.mounts import Mount
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned
from diffuse_uda.training.memory import estimate_memory
from diffuse_uda.types import ModelName

GIB = 2**30
MIB = 2**20
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, never written to
_SHARED = str(SHARED_MEMORY)
SHARED_MEMORY_FLOOR = 64 * MIB
"""What Docker gives by default; worker processes die with it."""
SHARED_MEMORY_WANTED = GIB
MOST_FEW_FILES = 10_000
"""A run makes hundreds of files; fewer free inodes than this will not last."""

_OTHER_BYTES = GIB
"""Logs, histories, the app's bundle, predictions."""
_RESULTS = 2
"""Both models once more, in the cache of replies and in Flower's outbox."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """How much data a site brings."""

    num_cases: int
    voxels: int
    """Voxels of one scan on the working grid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a file system has left for this account."""

    free_bytes: int
    total_bytes: int
    free_files: int | None
    """Inodes; None where the file system makes them as it goes."""


def observe_room(folder: Path) -> Room:
    """Ask the file system.

    Raises:
        OSError: If the folder does not exist.
    """
    status = os.statvfs(folder)
    return Room(
        free_bytes=status.f_bavail * status.f_frsize,
        total_bytes=status.f_blocks * status.f_frsize,
        free_files=status.f_favail if status.f_files else None,
    )


def needed_bytes(config: StudyConfig, cases: Cases, num_classes: int) -> int:
    """What one run leaves in a site's workspace, counted generously.

    Models: weights, moments and teacher, the segmenters of the ensemble, results kept for being sent again. A case:
    prepared (float32 image, uint8 labels), pseudo-labelled with weights, and rendered pairs and recoloured scans of the
    size of a patch, one set for every domain at the most.
    """
    models = {name: estimate_memory(config, name, num_classes, half=False) for name in ModelName}
    segmenter = models[ModelName.SEGMENTER].weights_bytes
    state = sum(estimate.fixed_bytes + _RESULTS * estimate.weights_bytes for estimate in models.values())
    ensemble = config.pseudo_label.num_ensembled_rounds * segmenter
    own = cases.voxels * (5 + 9)
    rendered = math.prod(config.grid.patch_size) * 9
    pairs = config.synthesise.num_samples_per_label_map * config.denoiser.max_domains * 2 * rendered
    return _OTHER_BYTES + state + ensemble + cases.num_cases * (own + pairs)


def judge_workspace_room(room: Room, needed: int) -> Verdict:
    """The workspace's disk holds a run, and twice that for the next one."""
    files = "" if room.free_files is None else f", {room.free_files} more files"
    found = f"{room.free_bytes / GIB:.1f} GiB free{files}; a run keeps about {needed / GIB:.1f} GiB"
    wanted = f"{2 * needed / GIB:.1f} GiB and {MOST_FEW_FILES} files or more"
    fix = "free space, or put the workspace on a larger disk"
    if room.free_bytes < needed or room.free_files == 0:
        return failed("disk", found, wanted, fix)
    if room.free_bytes < 2 * needed or (room.free_files is not None and room.free_files < MOST_FEW_FILES):
        return warned("disk", found, wanted, fix)
    return passed("disk", found, wanted)


def check_shared_memory(folder: Path = SHARED_MEMORY) -> Verdict:
    """Look at the size of shared memory."""
    try:
        room: Room | None = observe_room(folder)
    except OSError:
        room = None
    return judge_shared_memory(room)


def judge_shared_memory(room: Room | None) -> Verdict:
    """Shared memory is larger than a container's default."""
    wanted = f"{SHARED_MEMORY_WANTED // MIB} MiB or more"
    fix = "start the container with --shm-size=1g, or mount a larger tmpfs there"
    if room is None:
        return warned(_SHARED, "not there", wanted, fix)
    found = f"{room.total_bytes // MIB} MiB, {room.free_bytes // MIB} MiB free"
    if room.free_bytes <= SHARED_MEMORY_FLOOR:
        return failed(_SHARED, found, wanted, fix)
    if room.free_bytes < SHARED_MEMORY_WANTED:
        return warned(_SHARED, found, wanted, fix)
    return passed(_SHARED, found, wanted)


def judge_temporary_folder(folder: Path | None, mount: Mount | None) -> Verdict:
    """Temporary files can be written, and compiled code there can be loaded."""
    wanted = "a folder that may be written to, on a file system that may hold programs"
    if folder is None:
        return failed("temporary folder", "this account may write to none", wanted, "set TMPDIR to a private folder")
    if mount is not None and "noexec" in mount.options:
        fix = "set TMPDIR to a folder elsewhere; only compute.compile = true needs it"
        return warned("temporary folder", f"{folder} is mounted noexec", wanted, fix)
    return passed("temporary folder", str(folder), wanted)


def temporary_folder() -> Path | None:
    """Where this account's temporary files go; None if it may write nowhere."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None
