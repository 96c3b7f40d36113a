"""The GPU and its driver, or the honest word that there is none."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from diffuse_uda.config import StudyConfig
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

GIB = 2**30
DRIVER_FILE = Path("/proc/driver/nvidia/version")
_DRIVER_VERSION = re.compile(r"\b(\d{3}\.\d+(?:\.\d+)?)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """What torch and the kernel say about GPUs."""

    name: str | None
    """None if torch can use no GPU."""
    total_bytes: int
    cuda: str | None
    """The CUDA version that torch was built for; None for a build without CUDA."""
    driver: str | None
    """Version of the kernel's NVIDIA driver."""


def observe_accelerator(driver_file: Path = DRIVER_FILE) -> Accelerator:
    """Ask torch for the first GPU, and the kernel for its driver."""
    try:
        found = _DRIVER_VERSION.search(driver_file.read_text(encoding="ascii", errors="replace"))
    except OSError:
        found = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about an old driver; the verdict says it with a way out
        usable = torch.cuda.is_available()
    return Accelerator(
        name=torch.cuda.get_device_name(0) if usable else None,
        total_bytes=int(torch.cuda.get_device_properties(0).total_memory) if usable else 0,
        cuda=torch.version.cuda,
        driver=found[1] if found else None,
    )


def judge_accelerator(seen: Accelerator, config: StudyConfig) -> Verdict:
    """The study gets the device that it asks for."""
    asked = config.compute.device
    wanted = f"what compute.device = {asked} asks for"
    if seen.name is not None:
        driver = f"driver {seen.driver or 'unknown'}, torch for CUDA {seen.cuda}"
        unused = "; the study uses the CPU" if asked == "cpu" else ""
        return passed("gpu", f"{seen.name}, {seen.total_bytes / GIB:.0f} GiB, {driver}{unused}", wanted)
    found = f"no GPU that torch can use, {os.cpu_count()} CPU cores"
    if asked == "cpu":
        return passed("gpu", found, wanted)
    if seen.driver is not None:
        found += f", though NVIDIA driver {seen.driver} is loaded"
        built = f"CUDA {seen.cuda}" if seen.cuda else "no CUDA at all"
        fix = f"torch is built for {built}: update the driver, or give the container its GPU (--gpus all)"
        return (failed if asked == "cuda" else warned)("gpu", found, wanted, fix)
    if asked == "cuda":
        return failed("gpu", found, wanted, "install the NVIDIA driver, or set compute.device = auto")
    if config.preset == "paper":
        fix = "use a machine with a GPU, or the preset small: a round of the preset paper takes days on a CPU"
        return warned("gpu", found, wanted, fix)
    return passed("gpu", found, wanted)
