"""A site's scans on the working grid: prepared once, kept in the site's folder.

Labels come only where the role allows, and nothing comes that the intake gate has quarantined.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import torch

from client.admission import admitted
from client.site import Site
from client.site_state import CASES, SiteState
from diffuse_uda.config import GridConfig, SourceConfig
from diffuse_uda.data.cases import PreparedCase, load_prepared, prepare_case, save_prepared
from diffuse_uda.data.formats.nnunet import CaseFiles, evaluation_cases
from diffuse_uda.errors import ConfigError
from diffuse_uda.training.batches import Example
from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.types import SiteRole


def training_cases(
    site: Site, grid: GridConfig, state: SiteState, source: SourceConfig | None = None
) -> list[PreparedCase]:
    """Training scans; with label maps at the source, without at a target, even if some lie in its folder.

    Args:
        site: Whose scans.
        grid: To bring them to.
        state: Where prepared scans are kept.
        source: How many of the source's label maps may be used; all when absent.
    """
    files = admitted(site).train
    if site.role is SiteRole.TARGET:
        files = _without_label_maps(files, keep=frozenset())
    elif source is not None and source.num_labelled > 0:
        files = _without_label_maps(files, keep=chosen_labelled(files, source))
    return _prepared(files, grid, state, "train")


def chosen_labelled(files: Sequence[CaseFiles], source: SourceConfig) -> frozenset[str]:
    """Ids of the labelled scans that a budget keeps: the first ones of an order drawn for the budget's number.

    Raises:
        ConfigError: If fewer scans have a label map than the budget asks for.
    """
    labelled = sorted(case.case_id for case in files if case.label_map is not None)
    if source.num_labelled > len(labelled):
        msg = (
            f"source.num-labelled = {source.num_labelled}, and {len(labelled)} training scans have a label map; "
            "wanted at most as many (0 takes all)"
        )
        raise ConfigError(msg)
    order = torch.randperm(len(labelled), generator=torch.Generator().manual_seed(source.label_draw))
    return frozenset(labelled[int(index)] for index in order[: source.num_labelled or len(labelled)])


def _without_label_maps(files: Sequence[CaseFiles], keep: frozenset[str]) -> tuple[CaseFiles, ...]:
    return tuple(case if case.case_id in keep else dataclasses.replace(case, label_map=None) for case in files)


def test_cases(site: Site, grid: GridConfig, state: SiteState) -> list[PreparedCase]:
    """Held-out labelled scans of the part the site evaluates. Only the evaluation may ask for them."""
    return _prepared(test_files(site), grid, state, "test")


def test_files(site: Site) -> tuple[CaseFiles, ...]:
    """Files of the held-out scans that have a label map."""
    return evaluation_cases(admitted(site), site.evaluation_part)


def examples_of(cases: list[PreparedCase], domain: int) -> list[Example]:
    """Cases as examples; a case's name ends here."""
    return [Example(image=case.image, label_map=case.label_map, domain=domain) for case in cases]


def _prepared(files: tuple[CaseFiles, ...], grid: GridConfig, state: SiteState, part: str) -> list[PreparedCase]:
    """Read the cache if it was made from these very files for this very grid, else make it."""
    digest = hashlib.sha256(grid.model_dump_json().encode())
    for case in files:
        for path in (case.image, case.label_map):
            if path is not None:
                status = path.stat()
                digest.update(f"{path}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    cache = state.folder / f"{CASES}{part}-{digest.hexdigest()[:16]}.safetensors"
    if cache.exists():
        return load_prepared(cache)
    cases = []
    for case in files:
        raise_if_stopped()
        cases.append(prepare_case(case, grid.spacing_mm, grid.patch_size))
    save_prepared(cache, cases)
    return cases
