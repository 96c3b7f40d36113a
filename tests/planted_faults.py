"""A hundred ways for a site to fail, all of them with a patient's name on the lips."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast
from unittest.mock import patch

import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from safetensors import SafetensorError

from client import tasks
from client.workplace import Workplace
from diffuse_uda import errors
from diffuse_uda.errors import Finding, InputError, RefusalError
from diffuse_uda.exchange.orders import SiteReply
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import SiteRole, StateDict
from tests.planted import PATH, PATIENT
from tests.planted_scans import SPOILT

Work = Callable[[Workplace, StateDict], SiteReply]

ASKED: Mapping[Task, SiteRole] = {
    Task.WARM_UP: SiteRole.SOURCE,
    Task.ADAPT_SOURCE: SiteRole.SOURCE,
    Task.ADAPT_TARGET: SiteRole.TARGET,
    Task.PSEUDO_LABEL: SiteRole.TARGET,
    Task.DESCRIBE: SiteRole.TARGET,
    Task.KEEP_TABLE: SiteRole.SOURCE,
    Task.RECOLOUR: SiteRole.SOURCE,
    Task.DIFFUSE: SiteRole.TARGET,
    Task.SYNTHESISE: SiteRole.SOURCE,
    Task.REFINE_SOURCE: SiteRole.SOURCE,
    Task.REFINE_TARGET: SiteRole.TARGET,
    Task.EVALUATE: SiteRole.TARGET,
}
"""Every task of Diffuse-UDA, and who is asked for it here."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, in answer to which question."""

    role: SiteRole
    task: Task | None
    """None: the site is asked to introduce itself."""
    spoil: Callable[[Path], object] | None = None
    """Breaks the site's scans."""
    work: Work | None = None
    """Instead of the task."""
    patches: Mapping[str, Any] | None = None
    """What is replaced, by its place."""
    is_answered: bool = False
    """Whether the site may answer with a result: what is planted is left out, or stays behind."""
    ends_process: bool = False


@contextmanager
def happening(fault: Fault, data_dir: Path) -> Iterator[None]:
    """Let a fault happen while the block runs."""
    kept = data_dir.with_name(f"{data_dir.name}.kept")
    with ExitStack() as stack:
        if fault.spoil is not None:
            data_dir.rename(kept)
            stack.callback(_restore, kept, data_dir)
            shutil.copytree(kept, data_dir)
            fault.spoil(data_dir)
        if fault.work is not None:
            stack.enter_context(patch.object(tasks, "TASKS", dict.fromkeys(Task, fault.work)))
        for place, value in (fault.patches or {}).items():
            stack.enter_context(patch(place, value))
        yield


def _restore(kept: Path, data_dir: Path) -> None:
    shutil.rmtree(data_dir) if data_dir.is_dir() else data_dir.unlink(missing_ok=True)
    kept.rename(data_dir)


class _SpeechlessError(ValueError):
    def __str__(self) -> str:
        raise KeyError(PATIENT)


def _noted() -> Exception:
    error = ValueError("wrong")
    error.add_note(PATIENT)
    return error


def _caused() -> Exception:
    error = RuntimeError("wrong")
    error.__cause__ = KeyError(PATIENT)
    return error


def _finding() -> Finding:
    return Finding(rule=PATIENT, centre=PATIENT, found=PATH, wanted=PATIENT, fix=PATH, case=PATIENT, file=PATH)


ERRORS: dict[str, Callable[[], BaseException]] = {
    "no such file": lambda: FileNotFoundError(errno.ENOENT, "No such file or directory", PATH),
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device", PATH),
    "read-only": lambda: OSError(errno.EROFS, "Read-only file system", PATH),
    "disk ill": lambda: OSError(errno.EIO, "Input/output error", PATH),
    "no permission": lambda: PermissionError(errno.EACCES, "Permission denied", PATH),
    "a folder": lambda: IsADirectoryError(errno.EISDIR, "Is a directory", PATH),
    "too many files": lambda: OSError(errno.EMFILE, "Too many open files", PATH),
    "two names": lambda: OSError(errno.EXDEV, "Invalid cross-device link", PATH, None, PATH),
    "memory": lambda: MemoryError(f"for {PATH}"),
    "GPU memory": lambda: torch.OutOfMemoryError(f"CUDA out of memory, {PATH}"),
    "runtime": lambda: RuntimeError(PATH),
    "value": lambda: ValueError(PATIENT),
    "key": lambda: KeyError(PATIENT),
    "index": lambda: IndexError(PATIENT),
    "type": lambda: TypeError(PATIENT),
    "attribute": lambda: AttributeError(PATIENT, name=PATIENT, obj=PATIENT),
    "name": lambda: NameError(PATIENT, name=PATIENT),
    "letters": lambda: UnicodeDecodeError("utf-8", PATIENT.encode(), 0, 1, PATIENT),
    "json": lambda: json.JSONDecodeError(PATIENT, PATIENT, 0),
    "import": lambda: ImportError(PATIENT, name=PATIENT, path=PATH),
    "assertion": lambda: AssertionError(PATIENT),
    "recursion": lambda: RecursionError(PATIENT),
    "iteration": lambda: StopIteration(PATIENT),
    "division": lambda: ZeroDivisionError(PATIENT),
    "overflow": lambda: OverflowError(PATIENT),
    "end of file": lambda: EOFError(PATH),
    "gzip": lambda: gzip.BadGzipFile(PATH),
    "zlib": lambda: zlib.error(PATH),
    "image": lambda: ImageFileError(PATH),
    "header": lambda: HeaderDataError(PATH),
    "safetensors": lambda: SafetensorError(PATH),
    "pickle": lambda: pickle.UnpicklingError(PATH),
    "syntax": lambda: SyntaxError(PATIENT, (PATH, 1, 1, PATIENT)),
    "program": lambda: subprocess.CalledProcessError(1, ["convert", PATH], PATIENT, PATIENT),
    "patience": lambda: subprocess.TimeoutExpired(["convert", PATH], 1.0, PATIENT.encode()),
    "connection": lambda: ConnectionResetError(PATIENT),
    "warning": lambda: UserWarning(PATIENT),
    "a class of that name": lambda: type(PATIENT, (ValueError,), {})(PATIENT),
    "a module of that name": lambda: type("Broken", (ValueError,), {"__module__": PATIENT})(PATIENT),
    "a note": _noted,
    "a cause": _caused,
    "a group": lambda: ExceptionGroup(PATIENT, [ValueError(PATIENT), KeyError(PATH)]),
    "an error without words": _SpeechlessError,
    "refused input": lambda: InputError([_finding()]),
    "refused order": lambda: RefusalError(PATIENT, [(PATIENT, PATH)]),
    **{
        f"our {kind}": lambda kind=kind: getattr(errors, kind)(PATH)  # type: ignore[misc]
        for kind in ("ConfigError", "GeometryError", "CheckpointError", "StorageError", "MemoryEstimateError")
    },
    "our SiteTaskError": lambda: errors.SiteTaskError(PATH),
}
"""Fifty-one kinds of errors."""


def _raising(make: Callable[[], BaseException]) -> Callable[..., NoReturn]:
    def work(*_arguments: object, **_named: object) -> NoReturn:
        raise make()

    return work


def _answering(change: Callable[[SiteReply], SiteReply]) -> Work:
    def work(_workplace: Workplace, weights: StateDict) -> SiteReply:
        return change(SiteReply(weights=weights, num_examples=2, metrics={"loss": 0.5}))

    return work


def _weights(reply: SiteReply, **planted: torch.Tensor) -> SiteReply:
    return replace(reply, weights={**(reply.weights or {}), **planted})


REPLIES: dict[str, Callable[[SiteReply], SiteReply]] = {
    "metric": lambda reply: replace(reply, metrics={PATIENT: 1.0}),
    "metric of a loss": lambda reply: replace(reply, metrics={f"loss/{PATIENT}": 1.0}),
    "metric that is a text": lambda reply: replace(reply, metrics={"loss": cast("float", PATIENT)}),
    "count that is a text": lambda reply: replace(reply, num_examples=cast("int", PATIENT)),
    "tensor's name": lambda reply: _weights(reply, **{PATIENT: torch.zeros(1)}),
    "tensor of letters": lambda reply: _weights(reply, letters=torch.tensor(list(PATIENT.encode()), dtype=torch.uint8)),
    "tensors renamed": lambda reply: replace(
        reply, weights={f"{PATIENT}.{k}": v for k, v in (reply.weights or {}).items()}
    ),
    "no dictionary": lambda reply: replace(reply, weights=cast("StateDict", PATIENT)),
    "no reply": lambda _reply: cast("SiteReply", PATIENT),
}
"""Nine replies with a name in them."""


def _prints(reply: SiteReply) -> SiteReply:
    print(PATIENT, PATH)  # noqa: T201 - that is the fault
    print(PATIENT, file=sys.stderr)  # noqa: T201
    return reply


def _logs(reply: SiteReply) -> SiteReply:
    for name in ("", "flwr", "client", PATIENT):
        logging.getLogger(name or None).error("working on %s", PATH)
    return reply


def _warns(reply: SiteReply) -> SiteReply:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(PATH, stacklevel=1)
    return reply


def _environment(reply: SiteReply) -> SiteReply:
    os.environ["PATIENT"] = PATIENT
    return reply


TALKS = {"prints": _prints, "logs": _logs, "warns": _warns, "sets a variable": _environment}
"""Four ways to say a name in passing; the reply is good."""

ENDS: dict[str, Callable[..., object]] = {
    "leaves": _raising(lambda: SystemExit(PATIENT)),
    "is interrupted": _raising(lambda: KeyboardInterrupt(PATIENT)),
    "stops without a word": lambda *_: os._exit(3),
    "is killed": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
}
"""Four ends of the process."""

BROKEN_TOOLS = {
    "diffuse_uda.data.intake.case_check.load_scan": _raising(ERRORS["image"]),
    "client.admission.check_centre": _raising(ERRORS["refused input"]),
    "client.tasks.SiteState": _raising(ERRORS["read-only"]),
    "client.client_app.open_site": _raising(ERRORS["our ConfigError"]),
    "client.client_app.open_desk": _raising(ERRORS["no permission"]),
    "client.client_app.receive": _raising(ERRORS["disk full"]),
    "client.correspondence.read_book": _raising(ERRORS["json"]),
    "client.correspondence.encode_card": _raising(ERRORS["key"]),
    "client.correspondence.write_book": _raising(ERRORS["disk full"]),
}
"""Nine tools that fail while a site introduces itself, before, within and after the task."""


def _catalogue() -> dict[str, Fault]:
    asked = list(ASKED.items())
    faults: dict[str, Fault] = {}

    def add(kind: str, name: str, number: int, **what: Any) -> None:
        task, role = asked[number % len(asked)]
        faults[f"{kind}: {name}"] = Fault(role=role, task=task, **what)

    for number, (name, make) in enumerate(ERRORS.items()):
        add("error", name, number, work=_raising(make))
    for number, (name, change) in enumerate(REPLIES.items()):
        add("reply", name, number, work=_answering(change), is_answered=True)
    for number, (name, change) in enumerate(TALKS.items()):
        add("talk", name, number, work=_answering(change), is_answered=True)
    for number, (name, end) in enumerate(ENDS.items()):
        add("end", name, number, work=end, ends_process=True)
    for number, (name, spoil) in enumerate(SPOILT.items()):
        role = list(SiteRole)[number % 2]
        faults[f"scans: {name}"] = Fault(role=role, task=None, spoil=spoil, is_answered=True)
    for number, (place, tool) in enumerate(BROKEN_TOOLS.items()):
        role = list(SiteRole)[number % 2]
        faults[f"tool: {place}"] = Fault(role=role, task=None, patches={place: tool})
    return faults


FAULTS = _catalogue()
"""By name."""
