"""Centre folders on disk: whole or not at all, the same bytes for any number of processes.

Everything is written into a hidden folder beside the wanted one, `dataset.json` of each centre after its scans, and
renamed once all is there. Case after case is loaded in processes of their own; what is written depends on no order.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from diffuse_uda.data.atomic import flush_to_disk, make_folder, replaced_atomically
from diffuse_uda.data.preparation.case_writing import WritingTask, write_case
from diffuse_uda.data.preparation.plan import CentrePlan, PlannedCase, PreparationPlan
from diffuse_uda.errors import ConfigError, Finding, InputError, StorageError
from diffuse_uda.types import SiteRole

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of finished cases and of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What has been written."""

    centres: tuple[Path, ...]
    left_out: tuple[Finding, ...]
    """Broken cases, where they were to be left out."""
    case_names: Path | None
    """The site's private file that says which case is whose; None where the names are the data set's own."""


def require_new_folder(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output folder that holds something, or that lies in what is read (or the reverse).

    Raises:
        ConfigError: If so.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} exists and is not an empty folder: wanted a new one, nothing is ever written over"
        raise ConfigError(msg)
    for folder in inputs:
        ours, theirs = out.resolve(), folder.resolve()
        if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
            msg = f"{out} and {folder} lie in one another: wanted an output folder elsewhere"
            raise ConfigError(msg)
    if case_names_file(out).exists():
        msg = (
            f"{case_names_file(out)} exists: it says which case of an earlier {out.name} is whose. Keep it with what "
            "it belongs to, or delete it, or choose another output folder"
        )
        raise ConfigError(msg)


def case_names_file(out: Path) -> Path:
    """Where the private names of the cases go: beside the output, so that whoever is given that has not got them."""
    return out.parent / f"{out.name}-case-names-private.json"


def write_centres(
    plan: PreparationPlan,
    out: Path,
    inputs: Sequence[Path],
    *,
    num_workers: int = 1,
    skip_broken: bool = False,
    progress: Progress = lambda done, total: None,  # noqa: ARG005 - nobody looks
) -> Prepared:
    """Write a plan.

    Args:
        plan: A checked plan.
        out: A new or empty folder; the centres' folders will be in it.
        inputs: Folders that are read.
        num_workers: Processes; 1 works in this one.
        skip_broken: Leave broken cases out and say so, instead of writing nothing.
        progress: Told after every case.

    Raises:
        ConfigError: If the output folder must not be written to.
        InputError: With what is wrong with every broken case; nothing is written then. With `skip_broken` too, if a
            centre would have no training case left.
        StorageError: If a process was killed, for instance for want of memory.
    """
    require_new_folder(out, inputs)
    with _staging_folder(out) as staged:
        tasks = [_task(staged, centre, case) for centre in plan.centres for case in centre.cases]
        for task in tasks:
            for file in (task.image_file, task.label_file) if task.case.listed.label_map else (task.image_file,):
                file.parent.mkdir(parents=True, exist_ok=True)
        findings = _written(tasks, num_workers, progress)
        broken = {id(task.case): finding for task, finding in zip(tasks, findings, strict=True) if finding is not None}
        if broken and not skip_broken:
            raise InputError(list(broken.values()))
        for centre in plan.centres:
            kept = [case for case in centre.cases if id(case) not in broken]
            if not any(case.part == "train" for case in kept):
                raise InputError(list(broken.values()))
            text = json.dumps(_description(plan, centre, kept), indent=1, ensure_ascii=False) + "\n"
            with replaced_atomically(staged / centre.name / "dataset.json") as part:
                part.write_text(text, encoding="utf-8")
        names = _write_case_names(plan, out) if plan.case_names_are_private else None
        try:
            if out.exists():
                out.rmdir()
            staged.rename(out)
        except BaseException:
            if names is not None:
                names.unlink()
            raise
        flush_to_disk(out.parent)
    return Prepared(
        centres=tuple(out / centre.name for centre in plan.centres),
        left_out=tuple(broken.values()),
        case_names=names,
    )


@contextmanager
def _staging_folder(out: Path) -> Iterator[Path]:
    make_folder(out.parent)
    prefix = f".{out.name}.part-"
    for left in out.parent.glob(f"{prefix}*"):
        logger.warning("%s was left by a preparation that was killed, or is one at work; delete it if none is", left)
    staged = out.parent / f"{prefix}{os.getpid()}"
    staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)  # gone already where all went well


def _task(staged: Path, centre: CentrePlan, case: PlannedCase) -> WritingTask:
    is_train = case.part == "train"
    labels = "labelsTs" if not is_train else "labelsTr" if centre.role is SiteRole.SOURCE else "oracle/labelsTr"
    return WritingTask(
        centre=centre.name,
        case=case,
        class_of=dict(centre.classes.class_of),
        image_file=staged / centre.name / ("imagesTr" if is_train else "imagesTs") / f"{case.case_id}_0000.nii.gz",
        label_file=staged / centre.name / labels / f"{case.case_id}.nii.gz",
    )


def _written(tasks: Sequence[WritingTask], num_workers: int, progress: Progress) -> list[Finding | None]:
    """What is wrong with each task's case, in their order."""
    if num_workers <= 1 or len(tasks) <= 1:
        findings = []
        for done, task in enumerate(tasks, start=1):
            findings.append(write_case(task))
            progress(done, len(tasks))
        return findings
    # `spawn`: a fork would share whatever threads and locks the libraries of this process have.
    with ProcessPoolExecutor(min(num_workers, len(tasks)), mp_context=get_context("spawn")) as pool:
        futures: list[Future[Finding | None]] = [pool.submit(write_case, task) for task in tasks]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                progress(done, len(tasks))
        except BrokenProcessPool as error:
            msg = "a process of the preparation was killed (out of memory?): try fewer --workers; nothing was written"
            raise StorageError(msg) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _description(plan: PreparationPlan, centre: CentrePlan, cases: Sequence[PlannedCase]) -> dict[str, Any]:
    parts = {part: [case.case_id for case in cases if case.part == part] for part in ("development", "test")}
    return {
        "channel_names": {"0": centre.channel_name},
        "labels": {"background": 0} | {name: klass for klass, name in enumerate(centre.classes.names, start=1)},
        "numTraining": sum(case.part == "train" for case in cases),
        "file_ending": ".nii.gz",
        "name": centre.name,
        "description": f"Prepared from the layout {plan.layout}. Split: {plan.split}.",
        "evaluation": {part: names for part, names in parts.items() if names},
    }


def _write_case_names(plan: PreparationPlan, out: Path) -> Path:
    path = case_names_file(out)
    content = {
        centre.name: {
            case.case_id: {
                "case": case.listed.case_id,
                "patient": case.listed.patient,
                "place": str(case.listed.place),
            }
            for case in centre.cases
        }
        for centre in plan.centres
    }
    with replaced_atomically(path, mode=0o600) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
