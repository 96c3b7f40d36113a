"""The federation's page from the folder of a run that is finished or still goes on; nothing else in it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.atomic import replaced_atomically
from diffuse_uda.errors import CheckpointError, ConfigError, DiffuseUdaError
from diffuse_uda.exchange.audit_entries import MESSAGE_REFUSED
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.signing import fingerprint
from diffuse_uda.methods import build_method
from diffuse_uda.reporting.federation_page import FederationFacts, Participant, render_federation_page
from diffuse_uda.reporting.history_view import read_history
from diffuse_uda.training.checkpoints import checkpoint_sha256
from diffuse_uda.types import Scalar
from server.ending import read_ending
from server.history import HISTORY_FILE
from server.journal import JOURNAL_FILE, read_journal
from server.register import AUDIT_LOG, KEYS_FILE
from server.run_folder import CHECKPOINTS, EVALUATION_FILE, FEDERATION_FILE, LATEST, SEGMENTER, SEGMENTERS

PAGE = "federation.html"
"""In the run's folder, unless somebody names another place."""


def write_federation_page(run_dir: Path, *, out: Path | None = None, bundle: str = "") -> Path:
    """Write the page of a run.

    Args:
        run_dir: The run's folder.
        out: Where to; absent: `federation.html` in the folder.
        bundle: SHA-256 of the app bundle that the hospitals approved, where somebody knows it; the folder does not.

    Returns:
        The page.

    Raises:
        ConfigError: If the folder holds no run whose sites have met.
    """
    facts = federation_facts(run_dir, bundle=bundle)
    path = out or run_dir / PAGE
    with replaced_atomically(path) as draft:
        draft.write_text(render_federation_page(facts), encoding="utf-8")
    return path


def federation_facts(run_dir: Path, *, bundle: str = "") -> FederationFacts:
    """Read what a run folder says; every file but `federation.json` may still be missing while a run goes on.

    Raises:
        ConfigError: If the folder holds no run whose sites have met.
        InputError: If the history is damaged.
    """
    study = _read(run_dir / FEDERATION_FILE)
    if study is None:
        msg = (
            f"{run_dir} holds no {FEDERATION_FILE}: wanted the folder of a run whose sites have met, on the hub; look "
            "at `python -m server status`"
        )
        raise ConfigError(msg)
    config = StudyConfig.from_flat(study["config"])
    ending = read_ending(run_dir)
    keys = (_read(run_dir / KEYS_FILE) or {}).get("keys", {})
    participants = [
        Participant(
            site_id=site["site_id"],
            role=site["role"],
            num_cases=int(site["num_cases"]),
            num_test_cases=int(site["num_test_cases"]),
            key=fingerprint(bytes.fromhex(keys[site["site_id"]])) if site["site_id"] in keys else "",
        )
        for site in study["sites"]
    ]
    method = build_method(config, num_targets=len(participants) - 1)
    return FederationFacts(
        name=config.name,
        method=method.name,
        end="unknown" if ending is None else ending.end.value,
        end_reason="" if ending is None else ending.reason,
        end_at="" if ending is None else ending.at,
        label_names=study["label_names"],
        participants=participants,
        history=read_history(run_dir / HISTORY_FILE),
        num_rounds=sum(phase.num_rounds for phase in method.phases),
        scores=_scores(_read(run_dir / EVALUATION_FILE) or {}),
        refused_messages=list(_refused_messages(run_dir / AUDIT_LOG)),
        hashes=list(_hashes(run_dir, config, bundle)),
        config=config.to_flat(),
    )


def _hashes(run_dir: Path, config: StudyConfig, bundle: str) -> Iterator[tuple[str, str]]:
    yield "plan: what the study asks of its sites", plan_hash(config)
    if bundle:
        yield "app bundle of the checkout that made this page", bundle
    places = {"segmenter of all sites": run_dir / SEGMENTER}
    for folder in sorted((run_dir / SEGMENTERS).glob("*")):
        places[f"segmenter of {folder.name}"] = folder
    if not places["segmenter of all sites"].exists():
        places = {f"latest {folder.name}": folder for folder in sorted((run_dir / CHECKPOINTS / LATEST).glob("*"))}
    for name, folder in places.items():
        try:
            yield f"weights: {name}", checkpoint_sha256(folder)
        except CheckpointError as error:
            yield f"weights: {name}", f"cannot be read ({type(error).__name__})"
    try:
        entries, _ = read_journal(run_dir / JOURNAL_FILE)
    except DiffuseUdaError:
        yield "journal", "damaged: its chain of hashes is broken"
        return
    if entries:
        yield f"journal, after {len(entries)} entries", str(entries[-1]["hash"])


def _scores(said: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Scalar]]]:
    """Numbers by method and site; anything else in the file is nothing for a page."""
    return {
        str(row): {
            str(site): {str(key): value for key, value in scalars.items() if isinstance(value, int | float)}
            for site, scalars in sites.items()
        }
        for row, sites in said.items()
    }


def _refused_messages(path: Path) -> Iterator[tuple[str, str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # half a line of a crash
        if isinstance(entry, dict) and entry.get("event") == MESSAGE_REFUSED:
            yield str(entry.get("time", "")), str(entry.get("from") or ""), str(entry.get("why", ""))


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None while it is not there. The files are replaced as a whole, so none is ever half written."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error
    return content
