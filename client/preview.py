"""What would leave this site: one round of every task on its own scans, through the very code that a run goes through.

Steps are as few as they can be, the server is a stand-in that sends first weights and then what came back, everything
kept on the way is deleted, and nothing is sent.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from client import tasks
from client.correspondence import Desk, Received, answer_with_card, answer_with_work, open_desk, receive, refuse
from client.site import Site, open_site
from client.site_settings import SiteSettings
from diffuse_uda.config import StudyConfig
from diffuse_uda.data.formats.nnunet import read_centre
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.errors import ConfigError, SiteTaskError
from diffuse_uda.exchange.audit_entries import MESSAGE_SENT, Facts
from diffuse_uda.exchange.envelopes import Content, Envelope, in_envelope, wire_bytes
from diffuse_uda.exchange.flower import INTRODUCE, decode_reply, empty_content, encode_order, encode_weights, work_type
from diffuse_uda.exchange.orders import WorkOrder
from diffuse_uda.exchange.plan import phases_of, plan_hash
from diffuse_uda.exchange.sealing import sealed
from diffuse_uda.methods.phase import Phase
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName, Scalar, SiteRole, StateDict

RUN = "preview"
"""What the run calls itself; no server does."""

OTHER_SITE = "the-other-site"
"""Stand-in for whoever else takes part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """One message, as it would leave."""

    name: str
    """`introduction`, or the phase."""
    task: str
    facts: Facts
    """What the audit log would say about it: sizes, hashes, forms and norms of tensors, scalars, signature."""
    wire: bytes = field(repr=False)
    """The very bytes; for a refusal its words, which is all that leaves then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Notes:
    """Keeps what would be written into the audit log."""

    entries: list[tuple[str, Facts]] = field(default_factory=list)

    def append(self, event: str, facts: Mapping[str, Any]) -> None:
        self.entries.append((event, dict(facts)))

    def last_sent(self) -> Facts:
        return next(facts for event, facts in reversed(self.entries) if event == MESSAGE_SENT)


@contextmanager
def opened_site(source: Path, role: SiteRole | None) -> Iterator[Site]:
    """The site that a settings file describes, or that a folder with a role would be.

    A folder's site has its workspace, and a key, for the moment only.

    Args:
        source: `site.toml`, or a centre's folder.
        role: Needed for a folder only.

    Raises:
        ConfigError: If the file cannot be used, or a folder comes without a role.
    """
    if not source.is_dir():
        yield open_site(read_settings(source, SiteSettings).node_config())
        return
    if role is None:
        msg = f"{source} is a folder; say what the site would be: --role source or --role target"
        raise ConfigError(msg)
    config: dict[str, Scalar] = {"site-id": source.resolve().name, "role": role.value, "data-dir": str(source)}
    with tempfile.TemporaryDirectory(prefix="preview-") as workspace:
        yield open_site({**config, "workspace": workspace})


def brief_study(config: StudyConfig) -> StudyConfig:
    """The same study with one round a phase and one step a round: what leaves has the same names, forms and sizes."""
    changes: dict[str, Any] = {}
    for name in ("warm_up", "adapt", "recolour", "diffuse", "refine"):
        fit = getattr(config, name)
        one = {"num_rounds": min(fit.num_rounds, 1), "num_local_steps": 1, "batch_size": 1}
        changes[name] = fit.model_copy(update=one)
    changes["recolour"] = changes["recolour"].model_copy(update={"num_turns": 1})
    changes["pseudo_label"] = config.pseudo_label.model_copy(update={"num_em_iterations": 1})
    changes["diffusion"] = config.diffusion.model_copy(update={"num_inference_steps": 1, "num_train_timesteps": 4})
    changes["synthesise"] = config.synthesise.model_copy(update={"num_samples_per_label_map": 1})
    return config.model_copy(update={**changes, "num_passes": 1})


def preview_egress(site: Site, study: StudyConfig, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Leaving]:
    """Do one round of every task of a study at a site and hand out what would leave, message by message.

    Args:
        site: The site; its data are read, its policy and its key are used, its workspace holds the work for the moment.
        study: The study; its plan need not be approved for a look at it.
        clock: For the scalar `seconds`, the only one that differs from one time to the next.

    Raises:
        ConfigError: If policy or key cannot be used.
        InputError: If the site's folder cannot be read.
    """
    config = brief_study(study)
    site.workspace.mkdir(parents=True, exist_ok=True)
    desk = open_desk(site, config)
    folder = Path(tempfile.mkdtemp(dir=site.workspace, prefix=".preview-"))
    try:
        yield from _messages(
            replace(
                desk,
                site=replace(site, workspace=folder),
                policy=desk.policy.model_copy(update={"plans": None}),
                log=_Notes(),
            ),
            _labels_of(site),
            functools.partial(tasks.run_task, clock=clock),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def orders_for(site: Site, config: StudyConfig, label_names: tuple[str, ...]) -> Iterator[tuple[Phase, WorkOrder]]:
    """The orders of a run with one other site, one for each phase in which this site has a task."""
    is_source = site.role is SiteRole.SOURCE
    domains = (site.site_id, OTHER_SITE) if is_source else (OTHER_SITE, site.site_id)
    number = 0
    for phase in phases_of(config, num_targets=1):
        number += phase.num_rounds
        if site.role in phase.tasks and phase.num_rounds:
            yield (
                phase,
                WorkOrder(
                    task=phase.tasks[site.role],
                    phase=phase.label,
                    server_round=1,
                    num_rounds=phase.num_rounds,
                    pass_index=phase.pass_index,
                    row=phase.row,
                    domains=domains,
                    label_names=label_names,
                    partner=phase.partner,
                    number=number,
                ),
            )


def _messages(desk: Desk, label_names: tuple[str, ...], run_task: Callable[..., Any]) -> Iterator[Leaving]:
    envelope = Envelope(run=RUN, plan=plan_hash(desk.config))

    def message(name: str, kind: str, content: Content, work: Callable[[Received], Content]) -> tuple[Leaving, Content]:
        letter = receive(desk, kind, in_envelope(content, envelope))
        try:
            with sealed(kind):
                answer = work(letter)
            wire = wire_bytes(answer)
        except SiteTaskError as error:
            answer, wire = empty_content(), refuse(desk, letter, str(error)).encode()
        notes = desk.log
        assert isinstance(notes, _Notes)  # noqa: S101 - put there by `preview_egress`
        return Leaving(name=name, task=kind.partition(".")[2], facts=notes.last_sent(), wire=wire), answer

    yield message(
        "introduction", INTRODUCE, empty_content(), lambda letter: answer_with_card(desk, letter, tasks.introduce)
    )[0]
    models: dict[ModelName, StateDict] = {}
    for phase, order in orders_for(desk.site, desk.config, label_names):
        weights = models.setdefault(phase.model, initial_weights(desk.config, phase.model, len(label_names)))
        content = encode_order(order, encode_weights(weights))
        work = functools.partial(answer_with_work, desk, run_task=run_task)
        leaving, answer = message(phase.label, work_type(order.task), content, work)
        yield leaving
        if "weights" in answer:  # of one site alone, the average is what it sent
            answer.pop("signature")
            models[phase.model] = decode_reply(answer).weights or weights


def _labels_of(site: Site) -> tuple[str, ...]:
    """Classes as the site's own folder names them, background first; the size of the models depends on their number."""
    names = read_centre(site.data_dir, site.site_id, follow_links=site.follow_links).label_names
    return tuple(names[value] for value in sorted(names))


def write_messages(messages: Sequence[Leaving], folder: Path) -> None:
    """Write every message's very bytes, and `messages.json` about them.

    Raises:
        OSError: If the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, leaving in enumerate(messages):
        (folder / f"{index:02d}-{leaving.name}.bin").write_bytes(leaving.wire)
    (folder / "messages.json").write_text(as_json(messages) + "\n", encoding="utf-8")


def as_json(messages: Sequence[Leaving]) -> str:
    """Everything about the messages but their bytes."""
    listed = [{key: value for key, value in asdict(leaving).items() if key != "wire"} for leaving in messages]
    sizes = [len(leaving.wire) for leaving in messages]
    return json.dumps([{**said, "wire_bytes": size} for said, size in zip(listed, sizes, strict=True)], indent=1)
