"""The machine and the versions behind a run: what somebody needs who gets other numbers, and nobody's name."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path, PurePath

import torch

PACKAGES = ("diffuse-uda", "flwr", "monai", "numpy", "scipy", "torch")
_GIT_TIMEOUT_S = 10.0


def describe_machine() -> dict[str, str | int | float | bool | None]:
    """Describe processor, memory, versions and commit.

    Returns:
        JSON values by name; None where this machine does not tell. Holds no path, no user and no host.
    """
    checkout = Path(__file__).parents[2]
    return {
        "cpu": _cpu_model(),
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "commit": _git(checkout, "rev-parse", "HEAD"),
        "uncommitted_changes": _is_dirty(checkout),
    }


def describe_command(arguments: Sequence[str]) -> str:
    """Spell a command for a report: the folders of absolute paths are left out, they tell who ran it where.

    Args:
        arguments: As in `sys.argv`.
    """
    return " ".join(_without_folders(argument) for argument in arguments)


def _without_folders(argument: str) -> str:
    option, equals, value = argument.rpartition("=")
    path = PurePath(value)
    return f"{option}{equals}{path.name or '/'}" if path.is_absolute() else argument


def _cpu_model(source: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is_dirty(checkout: Path) -> bool | None:
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return None if changes is None else changes != ""


def _git(checkout: Path, *arguments: str) -> str | None:
    """Ask git about this checkout; None without git, or if the package lies in somebody else's repository."""
    program = shutil.which("git")
    if program is None or not (checkout / ".git").exists():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed program with fixed words, no shell
            [program, "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
