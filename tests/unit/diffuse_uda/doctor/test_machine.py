"""GPU, memory, shared memory, disk, mounts."""

from __future__ import annotations

import math
import os
import tempfile
import types
from pathlib import Path

import pytest
import torch

from diffuse_uda.config import ComputeConfig, StudyConfig
from diffuse_uda.doctor.accelerator import Accelerator, judge_accelerator, observe_accelerator
from diffuse_uda.doctor.disk import (
    Cases,
    Room,
    check_shared_memory,
    judge_shared_memory,
    judge_temporary_folder,
    judge_workspace_room,
    needed_bytes,
    observe_room,
    temporary_folder,
)
from diffuse_uda.doctor.memory import StepMemory, check_memory, expected_steps, judge_memory
from diffuse_uda.doctor.mounts import Mount, mount_of, observe_mounts
from diffuse_uda.doctor.verdict import Status
from diffuse_uda.types import ModelName

GIB = 2**30
MIB = 2**20
PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL


TINY = StudyConfig.from_flat(
    {
        "grid.patch-size": "[16, 16, 16]",
        "segmenter.channels": "[4, 8]",
        "denoiser.channels": "[8, 16]",
        "denoiser.attention-levels": "[false, false]",
        "denoiser.num-groups": 4,
    }
)


def compute(device: str, preset: str = "small") -> StudyConfig:
    return StudyConfig.from_flat({"preset": preset, "compute.device": device})


H100 = Accelerator(name="NVIDIA H100", total_bytes=80 * GIB, cuda="13.0", driver="575.51.03")
NOTHING = Accelerator(name=None, total_bytes=0, cuda="13.0", driver=None)
OLD_DRIVER = Accelerator(name=None, total_bytes=0, cuda="13.0", driver="470.82.01")


@pytest.mark.parametrize(
    ("seen", "config", "status", "words"),
    [
        (H100, compute("auto"), PASS, "NVIDIA H100, 80 GiB, driver 575.51.03, torch for CUDA 13.0"),
        (H100, compute("cpu"), PASS, "the study uses the CPU"),
        (NOTHING, compute("auto"), PASS, "no GPU that torch can use"),
        (NOTHING, compute("auto", "paper"), WARN, "no GPU"),
        (NOTHING, compute("cuda"), FAIL, "no GPU"),
        (OLD_DRIVER, compute("auto"), WARN, "NVIDIA driver 470.82.01 is loaded"),
        (OLD_DRIVER, compute("cuda"), FAIL, "NVIDIA driver 470.82.01 is loaded"),
        (OLD_DRIVER, compute("cpu"), PASS, "no GPU"),
    ],
)
def test_the_study_gets_the_device_it_asks_for(
    seen: Accelerator, config: StudyConfig, status: Status, words: str
) -> None:
    line = judge_accelerator(seen, config)
    assert line.status is status
    assert words in line.found


def test_the_driver_is_the_kernels_and_the_gpu_is_torchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver_file = tmp_path / "version"
    driver_file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 2024\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _index: "NVIDIA A100")
    properties = types.SimpleNamespace(total_memory=40 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: properties)
    seen = observe_accelerator(driver_file)
    assert (seen.name, seen.driver, seen.total_bytes) == ("NVIDIA A100", "535.183.01", 40 * GIB)


def test_without_a_driver_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = observe_accelerator(tmp_path / "missing")
    assert (seen.name, seen.driver) == (None, None)


def step(needed: int, least: int) -> StepMemory:
    return StepMemory(model=ModelName.SEGMENTER, volumes=4, needed_bytes=needed, least_bytes=least)


@pytest.mark.parametrize(
    ("free", "status", "words"),
    [
        (15 * GIB, PASS, ""),
        (15 * GIB - 1, WARN, "free memory"),
        (10 * GIB, WARN, "free memory"),
        (10 * GIB - 1, WARN, "smaller batches"),
        (4 * GIB, WARN, "smaller batches"),
        (4 * GIB - 1, FAIL, "free memory or raise the container's limit"),
    ],
)
def test_half_as_much_again_passes_and_less_than_the_smallest_batch_fails(
    free: int, status: Status, words: str
) -> None:
    line = judge_memory([step(10 * GIB, 4 * GIB)], free, "cuda")
    assert line.status is status
    assert words in line.fix
    assert line.wanted == "15.00 GiB or more"


def test_a_gpu_falls_back_to_one_example_and_a_cpu_to_nothing() -> None:
    study = StudyConfig.from_flat({**TINY.to_flat(), "warm-up.batch-size": 3, "diffuse.batch-size": 5})
    cpu = expected_steps(study, 4, torch.device("cpu"))
    gpu = expected_steps(study, 4, torch.device("cuda"))
    assert [one.volumes for one in cpu] == [6, 5]
    assert all(one.needed_bytes == one.least_bytes for one in cpu)
    assert all(one.least_bytes < one.needed_bytes for one in gpu)


def test_a_small_study_fits_here_and_a_huge_one_does_not() -> None:
    cpu = torch.device("cpu")
    assert check_memory(TINY, 4, cpu).status is not FAIL
    huge = StudyConfig.from_flat({**TINY.to_flat(), "grid.patch-size": "[2048, 2048, 2048]"})
    assert check_memory(huge, 4, cpu).status is FAIL


@pytest.mark.parametrize(
    ("free_gib", "files", "status"),
    [(8, None, PASS), (8, 10_000, PASS), (7.9, None, WARN), (8, 9_999, WARN), (3.9, None, FAIL), (8, 0, FAIL)],
)
def test_a_disk_holds_two_runs_and_their_files(free_gib: float, files: int | None, status: Status) -> None:
    room = Room(free_bytes=int(free_gib * GIB), total_bytes=100 * GIB, free_files=files)
    assert judge_workspace_room(room, 4 * GIB).status is status


def test_a_run_needs_room_for_every_case_and_every_rendered_pair() -> None:
    study = TINY
    empty = needed_bytes(study, Cases(num_cases=0, voxels=0), 4)
    assert empty > GIB
    # 10 scans of 100^3 voxels: 5 bytes prepared and 9 pseudo-labelled a voxel; 8 domains, twice, 9 bytes a patch voxel
    patch = 9 * math.prod(study.grid.patch_size)
    assert needed_bytes(study, Cases(num_cases=10, voxels=10**6), 4) - empty == 10 * (14 * 10**6 + 16 * patch)


def test_room_is_what_the_file_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert observe_room(tmp_path).total_bytes > 0
    told = types.SimpleNamespace(f_bavail=2, f_frsize=4096, f_blocks=3, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _folder: told)
    assert observe_room(tmp_path) == Room(free_bytes=8192, total_bytes=12288, free_files=None)


@pytest.mark.parametrize(("free", "status"), [(GIB, PASS), (GIB - 1, WARN), (64 * MIB + 1, WARN), (64 * MIB, FAIL)])
def test_a_containers_default_shared_memory_fails(free: int, status: Status) -> None:
    room = Room(free_bytes=free, total_bytes=2 * GIB, free_files=None)
    assert judge_shared_memory(room).status is status


def test_a_system_without_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert check_shared_memory(tmp_path / "missing").status is WARN
    assert "MiB free" in check_shared_memory(tmp_path).found


def test_temporary_files_need_a_folder_and_compiled_code_one_without_noexec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount(point=Path("/"), kind="ext4", options=frozenset({"rw", "noexec"}))
    assert judge_temporary_folder(tmp_path, None).status is PASS
    assert judge_temporary_folder(tmp_path, mount).status is WARN
    assert judge_temporary_folder(None, mount).status is FAIL

    def nowhere() -> str:
        raise FileNotFoundError

    assert temporary_folder() is not None
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert temporary_folder() is None


MOUNTINFO = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / /mnt/scan\040share rw,nosuid shared:5 - nfs4 server:/export rw
31 22 0:31 / /mnt/over rw - tmpfs tmpfs rw
32 22 0:32 / /mnt/over ro - xfs /dev/vdb ro
half a line
"""


def test_a_folder_lies_on_the_deepest_and_newest_mount_above_it(tmp_path: Path) -> None:
    source = tmp_path / "mountinfo"
    source.write_text(MOUNTINFO)
    mounts = observe_mounts(source)
    assert len(mounts) == 4
    kinds = {}
    for folder in ("/home", "/mnt/scan share/ws", "/mnt/over/ws"):
        mount = mount_of(Path(folder), mounts)
        assert mount is not None
        kinds[folder] = mount.kind
    assert kinds == {"/home": "ext4", "/mnt/scan share/ws": "nfs4", "/mnt/over/ws": "xfs"}


def test_where_the_system_does_not_tell_there_is_no_mount(tmp_path: Path) -> None:
    assert observe_mounts(tmp_path / "missing") == []
    assert mount_of(tmp_path, []) is None


def test_amp_off_needs_more_on_a_gpu() -> None:
    plain = TINY.model_copy(update={"compute": ComputeConfig(amp=False)})
    gpu = torch.device("cuda")
    assert expected_steps(plain, 4, gpu)[0].needed_bytes > expected_steps(TINY, 4, gpu)[0].needed_bytes
