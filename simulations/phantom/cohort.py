"""The cohort on disk: one folder a site in the nnU-Net v2 layout, complete or not there at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from diffuse_uda.data.volumes import Volume, save_volume
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole, Spacing, Triple
from simulations.phantom.anatomy import LABELS, Grid, render_anatomy
from simulations.phantom.centres import DEFAULT_CENTRES, CentreRecipe
from simulations.phantom.physics import scan
from simulations.phantom.subjects import draw_subject

MARKER_NAME = "phantom-cohort.json"
"""Lists every file with its SHA-256; written last, so a folder without it is not a cohort."""

GENERATOR_VERSION = 1
"""To be raised with every change that alters a voxel, so that cohorts of older code are not taken for new ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One person to scan, and where the files go."""

    case_id: str
    image_folder: str
    label_folder: str
    seed: np.random.SeedSequence


def cohort_digest(
    *,
    seed: int,
    centres: Sequence[CentreRecipe] = DEFAULT_CENTRES,
    shape: Triple = (32, 40, 32),
    spacing_mm: Spacing = (5.0, 5.0, 5.0),
) -> str:
    """Name everything a cohort depends on in 64 hexadecimal digits: the same digest, the same voxels."""
    recipe = (GENERATOR_VERSION, int(seed), tuple(map(int, shape)), tuple(map(float, spacing_mm)), tuple(centres))
    return hashlib.sha256(repr(recipe).encode()).hexdigest()


def write_cohort(
    folder: Path,
    *,
    seed: int,
    centres: Sequence[CentreRecipe] = DEFAULT_CENTRES,
    shape: Triple = (32, 40, 32),
    spacing_mm: Spacing = (5.0, 5.0, 5.0),
) -> list[Path]:
    """Write a cohort, or reuse the one that is there if it is the same and undamaged.

    Every file is written to a temporary sibling of `folder` which is renamed at the end; an interrupted run leaves
    no cohort. The same arguments give the same bytes. People differ between sites, and those of one site, split and
    number stay the same however many other sites, or other scans, there are.

    Args:
        folder: Where the cohort shall be; its parents are created.
        seed: Draws all people and scans; at least 0.
        centres: The sites; names must differ.
        shape: Voxels along i, j and k of every scan.
        spacing_mm: Voxel size along i, j and k; shape times spacing should be about 160 x 190 x 160 mm, or heads
            are cut.

    Returns:
        The folder of each site, in the order of `centres`.

    Raises:
        ConfigError: If arguments make no cohort, or `folder` holds something else: another cohort, a damaged one, or
            foreign files. Nothing is overwritten.
    """
    grid = Grid(shape=shape, spacing_mm=spacing_mm)
    _require_distinct(centres)
    if seed < 0:
        msg = f"seed of the cohort is {seed}: wanted an integer of at least 0"
        raise ConfigError(msg)
    digest = cohort_digest(seed=seed, centres=centres, shape=shape, spacing_mm=spacing_mm)
    site_folders = [folder / centre.site_id for centre in centres]
    if folder.exists() and any(folder.iterdir()):
        _require_complete(folder, digest)
        return site_folders
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        staged = Path(temporary) / folder.name
        for centre in centres:
            _write_centre(staged / centre.site_id, centre, grid, seed=seed)
        files = {
            path.relative_to(staged).as_posix(): _sha256(path) for path in sorted(staged.rglob("*")) if path.is_file()
        }
        marker = {"digest": digest, "seed": seed, "generator_version": GENERATOR_VERSION, "files": files}
        (staged / MARKER_NAME).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        staged.rename(folder)
    return site_folders


def _require_distinct(centres: Sequence[CentreRecipe]) -> None:
    names = [centre.site_id for centre in centres]
    if not names or len(set(names)) < len(names):
        msg = f"sites of the cohort are {names}: wanted at least one, each with a name of its own"
        raise ConfigError(msg)


def _require_complete(folder: Path, digest: str) -> None:
    marker_path = folder / MARKER_NAME
    if not marker_path.is_file():
        msg = f"{folder} holds files but no {MARKER_NAME}, so it is no cohort: wanted an empty or a new folder"
        raise ConfigError(msg)
    try:
        marker = json.loads(marker_path.read_text(encoding="utf-8"))
        found, files = marker["digest"], dict(marker["files"])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{marker_path} is damaged ({type(error).__name__}), so nobody knows what {folder} holds: delete it"
        raise ConfigError(msg) from error
    if found != digest:
        msg = (
            f"{folder} holds the cohort {found} (seed {marker.get('seed')}), wanted {digest}: "
            "choose another folder, or delete this one"
        )
        raise ConfigError(msg)
    damaged = [
        name for name, checksum in files.items() if not (folder / name).is_file() or _sha256(folder / name) != checksum
    ]
    if damaged:
        msg = f"{folder}: {len(damaged)} of {len(files)} files are missing or changed, first {damaged[0]}: delete it"
        raise ConfigError(msg)


def _write_centre(folder: Path, centre: CentreRecipe, grid: Grid, *, seed: int) -> None:
    for case in _cases(centre, seed=seed):
        anatomy_seed, scan_seed = case.seed.spawn(2)
        anatomy = render_anatomy(draw_subject(np.random.default_rng(anatomy_seed)), grid)
        image = scan(anatomy, grid, centre.scanner, np.random.default_rng(scan_seed))
        # 16 bits are what scanners write; values of a few thousand lose less to rounding than to noise.
        stored = np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16)
        _save(folder / case.image_folder / f"{case.case_id}_0000.nii.gz", stored, grid)
        _save(folder / case.label_folder / f"{case.case_id}.nii.gz", anatomy.label_map, grid)
    description = json.dumps(_dataset_json(centre), indent=1) + "\n"
    (folder / "dataset.json").write_text(description, encoding="utf-8")


def _cases(centre: CentreRecipe, *, seed: int) -> Iterator[_Case]:
    """Give each person a seed of their own, that depends on the site's name, the split and the number in it."""
    name_words = np.frombuffer(hashlib.sha256(centre.site_id.encode()).digest(), dtype="<u4").tolist()
    splits = np.random.SeedSequence(seed, spawn_key=name_words).spawn(3)
    train_labels = "labelsTr" if centre.role is SiteRole.SOURCE else "oracle/labelsTr"
    places = [("imagesTr", train_labels), ("imagesTs", "labelsTs"), ("imagesTs", "labelsTs")]
    for split, case_ids, (images, labels) in zip(splits, _case_ids(centre), places, strict=True):
        for case_id, case_seed in zip(case_ids, split.spawn(len(case_ids)), strict=True):
            yield _Case(case_id=case_id, image_folder=images, label_folder=labels, seed=case_seed)


def _case_ids(centre: CentreRecipe) -> tuple[list[str], list[str], list[str]]:
    """Number the training, development and test cases through."""
    first_test = centre.num_train + centre.num_development
    names = [f"case{number:03d}" for number in range(first_test + centre.num_test)]
    return names[: centre.num_train], names[centre.num_train : first_test], names[first_test:]


def _dataset_json(centre: CentreRecipe) -> dict[str, object]:
    _, development, test = _case_ids(centre)
    return {
        "channel_names": {"0": centre.channel_name},
        "labels": LABELS,
        "numTraining": centre.num_train,
        "file_ending": ".nii.gz",
        "name": centre.site_id,
        "description": f"Simulated {centre.channel_name} scans, {centre.scanner.field}, of procedural brain phantoms",
        "evaluation": {split: cases for split, cases in (("development", development), ("test", test)) if cases},
    }


def _save(path: Path, voxels: npt.NDArray[np.int16] | npt.NDArray[np.uint8], grid: Grid) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(path, Volume(voxels=voxels, affine_mm=grid.affine_mm), dtype=voxels.dtype)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
