"""A container's or unit's limit counts, not the machine's memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffuse_uda.training import memory
from diffuse_uda.training.cgroups import cgroup_free_bytes

UNLIMITED_V1 = 9223372036854771712


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"memory.{name}").write_text(f"{content}\n")


def membership(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_version_2_leaves_limit_minus_use_plus_what_files_would_give_up(tmp_path: Path) -> None:
    group(tmp_path / "system.slice" / "site.service", max=1000, current=700, stat="anon 500\ninactive_file 200")
    own = membership(tmp_path, "0::/system.slice/site.service")
    assert cgroup_free_bytes(tmp_path, own) == 500


def test_the_strictest_group_above_counts(tmp_path: Path) -> None:
    group(tmp_path / "outer", max=600, current=500, stat="inactive_file 0")
    group(tmp_path / "outer" / "inner", max="max", current=100, stat="inactive_file 0")
    assert cgroup_free_bytes(tmp_path, membership(tmp_path, "0::/outer/inner")) == 100


def test_version_1_has_other_names_and_a_huge_number_for_no_limit(tmp_path: Path) -> None:
    own = membership(tmp_path, "5:devices:/", "4:cpu,memory:/docker/abc")
    stat = "inactive_file 9\ntotal_inactive_file 300"
    group(tmp_path / "memory", limit_in_bytes=UNLIMITED_V1, usage_in_bytes=0, stat=stat)
    group(tmp_path / "memory" / "docker" / "abc", limit_in_bytes=1000, usage_in_bytes=900, stat=stat)
    assert cgroup_free_bytes(tmp_path, own) == 400


def test_inside_a_container_the_hosts_path_is_missing_and_the_top_counts(tmp_path: Path) -> None:
    group(tmp_path, max=1000, current=100, stat="inactive_file 0")
    assert cgroup_free_bytes(tmp_path, membership(tmp_path, "0::/kubepods/pod1")) == 900


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    group(tmp_path, max=1000, current=1100, stat="inactive_file 0")
    assert cgroup_free_bytes(tmp_path, membership(tmp_path, "0::/")) == 0


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_without_a_limit_that_can_be_read_there_is_none(tmp_path: Path, content: str) -> None:
    assert cgroup_free_bytes(tmp_path, tmp_path / "missing") is None
    group(tmp_path, max=content, current=1, stat="inactive_file 0")
    assert cgroup_free_bytes(tmp_path, membership(tmp_path, "0::/")) is None


def test_free_memory_is_the_smaller_of_the_machines_and_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cgroup_free_bytes", lambda: 4096)
    assert memory.free_bytes(torch.device("cpu")) == 4096
    monkeypatch.setattr(memory, "cgroup_free_bytes", lambda: None)
    assert memory.free_bytes(torch.device("cpu")) > 4096
