"""A whole federation on this machine: gate, rounds, references, outcome."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from client.site import Site, open_site
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.data.run_lock import LOCK_FILE, run_lock
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.policy import describe_policy
from diffuse_uda.exchange.run_options import RUN_DIR, SITES_FILE, read_run_config
from diffuse_uda.models import initial_weights
from diffuse_uda.reporting.page import PolicyListing
from diffuse_uda.reporting.results import Results
from diffuse_uda.training.device import choose_device
from diffuse_uda.training.memory import describe_memory
from diffuse_uda.types import ModelName, Scalar, SiteRole
from server.federation_report import write_federation_page
from server.journal import JOURNAL_FILE
from server.resume import is_finished, unfinished_run
from simulations.centres import Centre, check_centres
from simulations.engines.declared_config import declared_config
from simulations.engines.flower_simulation import run_simulation_engine
from simulations.engines.in_process import run_in_process
from simulations.engines.sites import write_sites_file
from simulations.outcome import RESULTS_FILE, FinishedRun, write_outcome
from simulations.progress import LiveProgress
from simulations.references import fit_target_supervised, has_oracle

RUN_MARKER = "study.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Federation:
    """What to run, where from, where to."""

    config: StudyConfig
    centre_folders: Sequence[Path]
    run_dir: Path
    command: str
    with_references: bool = True
    """Whether to train target-supervised where a target's training labels lie aside."""
    is_fresh: bool = False
    """Whether to begin anew, whatever an interrupted run of this name has left."""


def run_federation(federation: Federation, console: Console) -> Results:
    """Run a federation from its folders to its report; one that was interrupted goes on.

    Raises:
        InputError: Before round 1, with everything that is wrong with the centres' folders.
        ConfigError: If the run's folder holds something else, or an interrupted run of another study.
        InUseError: If the same run is at work in another process.
    """
    centres = check_centres(federation.centre_folders)  # first: a refusal leaves no folder behind, not even a lock
    with run_lock(federation.run_dir):
        return _run_federation(federation, centres, console)


def _run_federation(federation: Federation, centres: Sequence[Centre], console: Console) -> Results:
    started = time.monotonic()
    for centre in centres:
        for warning in centre.warnings:
            console.print(f"warning: {warning}", markup=False, highlight=False)
    config, run_dir = federation.config, federation.run_dir
    is_federated = not federation.is_fresh and awaits_outcome(run_dir, config)
    if is_federated or prepare_run_dir(run_dir, [centre.folder for centre in centres], is_fresh=federation.is_fresh):
        console.print(f"{run_dir} holds an interrupted run; going on with it (--fresh begins anew)", highlight=False)
    else:
        with replaced_atomically(run_dir / RUN_MARKER) as draft:
            draft.write_text(spelt(config), encoding="utf-8")
    label_names = label_names_of(centres)
    node_configs = [node_config(centre, run_dir) for centre in centres]
    sites = [open_site(config_of_node) for config_of_node in node_configs]
    console.print(describe_memory(config, len(label_names), choose_device(config.compute)), highlight=False)
    checked = time.monotonic()
    num_workers = os.cpu_count() or 1
    if not is_federated:
        with LiveProgress(console) as progress:
            run_in_process(
                {**config.to_flat(), RUN_DIR: str(run_dir)}, node_configs, num_workers=num_workers, on_event=progress
            )
    federated = time.monotonic()
    references = [site for centre, site in zip(centres, sites, strict=True) if has_oracle(centre.folder)]
    if federation.with_references and references:
        console.print(f"reference: target-supervised at {len(references)} targets, with labels nobody else may read")
        fit_references(references, config, centres, label_names, num_workers)
    referenced = time.monotonic()
    run = FinishedRun(
        folder=run_dir,
        config=config,
        centres=centres,
        sites=sites,
        label_names=label_names,
        command=federation.command,
        seconds={
            "checks": round(checked - started, 3),
            "federation": round(federated - checked, 3),
            "references": round(referenced - federated, 3),
        },
    )
    write_federation_page(run_dir)
    return write_outcome(run, policy_listing(config, len(label_names)))


def run_under_flower(
    centre_folders: Sequence[Path],
    run_dir: Path,
    changes: Mapping[str, Scalar],
    command: str,
    console: Console,
    *,
    is_fresh: bool = False,
) -> Results:
    """Run a federation under Flower's simulation engine, from its folders to its report; no reference rows.

    Args:
        centre_folders: The source's folder first.
        run_dir: Where everything goes.
        changes: Flat keys on top of those that the app declares.
        command: What the user typed, for the record.
        console: Where progress is said; the engine itself is silent until it ends.
        is_fresh: Whether to begin anew, whatever an interrupted run of this name has left.

    Raises:
        InputError: Before anything is started, with everything that is wrong with the centres' folders.
        SimulationError: If the engine does not carry the run to its end.
    """
    centres = check_centres(centre_folders)
    if prepare_run_dir(run_dir, [centre.folder for centre in centres], is_fresh=is_fresh):
        console.print(f"{run_dir} holds an interrupted run; going on with it (--fresh begins anew)", highlight=False)
    run_dir = run_dir.resolve()
    nodes = [node_config(centre, run_dir) for centre in centres]
    sites_file = run_dir / "sites.json"
    write_sites_file(sites_file, nodes)
    options: dict[str, Scalar] = {**changes, RUN_DIR: str(run_dir), SITES_FILE: str(sites_file)}
    config, _ = read_run_config({**declared_config(), **options})
    console.print(
        f"{config.method}: {len(centres)} sites under Flower's simulation engine; see {run_dir}/history.jsonl"
    )
    started = time.monotonic()
    run_simulation_engine(options, num_nodes=len(centres), home=run_dir / "flower-home")
    run = FinishedRun(
        folder=run_dir,
        config=config,
        centres=centres,
        sites=[open_site(node) for node in nodes],
        label_names=label_names_of(centres),
        command=command,
        seconds={"federation": round(time.monotonic() - started, 3)},
    )
    write_federation_page(run_dir)
    return write_outcome(run, policy_listing(config, len(run.label_names)))


def prepare_run_dir(run_dir: Path, data_folders: Sequence[Path], *, is_fresh: bool = False) -> bool:
    """Make an empty folder for the run; an earlier run of this name is replaced, anything else is left alone.

    Args:
        run_dir: The run's folder.
        data_folders: Of the centres.
        is_fresh: Whether an interrupted run is replaced as well.

    Returns:
        Whether the folder holds an interrupted run, which is left as it is, to go on.

    Raises:
        ConfigError: If the folder lies inside the data, or holds something that no run has written.
        CheckpointError: If it holds a run whose journal is damaged.
        InUseError: If a run is at work in it.
    """
    for folder in data_folders:
        if run_dir.resolve().is_relative_to(folder.resolve()):
            msg = f"the run would write into the data: {run_dir} lies in {folder}; choose another --out"
            raise ConfigError(msg)
    with run_lock(run_dir):
        found = [path for path in run_dir.iterdir() if path.name != LOCK_FILE]
        if found and not any((run_dir / name).exists() for name in (RUN_MARKER, JOURNAL_FILE)):
            msg = f"{run_dir} is not empty and holds no {RUN_MARKER}: nobody's files are deleted; choose another --name"
            raise ConfigError(msg)
        if not is_fresh and unfinished_run(run_dir) is not None:
            return True
        for path in found:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return False


def awaits_outcome(run_dir: Path, config: StudyConfig) -> bool:
    """Whether a folder holds this very study with all its rounds done, and only references and report are missing."""
    marker = run_dir / RUN_MARKER
    return (
        marker.exists()
        and marker.read_text(encoding="utf-8") == spelt(config)
        and is_finished(run_dir)
        and not (run_dir / RESULTS_FILE).exists()
    )


def spelt(config: StudyConfig) -> str:
    """A configuration as it stands in a run's folder."""
    return config.model_dump_json(indent=1) + "\n"


def node_config(centre: Centre, run_dir: Path) -> dict[str, Scalar]:
    """What a hospital would pass to its own node: who it is, where its data are, where its private work goes."""
    return {
        "site-id": centre.site_id,
        "role": centre.role.value,
        "data-dir": str(centre.folder.resolve()),
        "workspace": str((run_dir / "sites" / centre.site_id).resolve()),
        "allow-style-blocks": True,
    }


def label_names_of(centres: Sequence[Centre]) -> tuple[str, ...]:
    """Classes of the study in the order of their values: the source's."""
    source = next(centre for centre in centres if centre.role is SiteRole.SOURCE)
    return tuple(source.files.label_names[value] for value in sorted(source.files.label_names))


def fit_references(
    sites: Sequence[Site],
    config: StudyConfig,
    centres: Sequence[Centre],
    label_names: tuple[str, ...],
    num_workers: int,
) -> None:
    """Train the reference of every target, side by side, one thread each."""
    source_first = sorted(centres, key=lambda centre: (centre.role is not SiteRole.SOURCE, centre.site_id))
    domains = tuple(centre.site_id for centre in source_first)
    # Once and here: modules initialise themselves from the global generator, which threads would share.
    weights = initial_weights(config, ModelName.SEGMENTER, len(label_names))
    with ThreadPoolExecutor(num_workers) as pool:
        for done in [pool.submit(fit_target_supervised, site, config, weights, domains, label_names) for site in sites]:
            done.result()


def policy_listing(config: StudyConfig, num_classes: int) -> PolicyListing:
    """What the egress policy of this study lets out, for the report."""
    tensors, scalars = describe_policy(config, num_classes)
    return PolicyListing(tensors=tensors, scalars=scalars, style_blocks=config.exchange.allow_style_blocks)
