"""What a preview shows is, byte for byte, what the real client app sends for the same order and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flwr.app import Message

from client import tasks
from client.client_app import app as client_app
from client.preview import RUN, Leaving, brief_study, opened_site, orders_for, preview_egress, write_messages
from client.site import Site, open_site
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.envelopes import Envelope, in_envelope, take_signature, wire_bytes
from diffuse_uda.exchange.flower import INTRODUCE, decode_reply, empty_content, encode_order, encode_weights, work_type
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.methods.phase import Task
from diffuse_uda.models import initial_weights
from diffuse_uda.types import ModelName, Scalar, SiteRole, StateDict
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid
from tests.tiny_site import LABEL_NAMES, tiny_cohort, tiny_config

TWO_CASES: dict[str, Scalar] = {"exchange.min-cases-for-statistics": 2}
CONFIG = tiny_config({"num-passes": 2, "adapt.num-rounds": 7, "recolour.num-turns": 2, **TWO_CASES})
WITHOUT_ROUNDS: dict[str, Scalar] = {
    f"{phase}.num-rounds": 0 for phase in ("warm-up", "adapt", "recolour", "diffuse", "refine")
}
"""Of the phases that train; a test adds the one that it looks at."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    source, target = tiny_cohort(tmp_path_factory.mktemp("cohort") / "tiny")
    return {"source": source, "target": target}


def _node_config(folder: Path, role: str, workspace: Path) -> dict[str, Scalar]:
    """The site of a folder, with one key and one log whatever its workspace is."""
    return {
        "site-id": f"the-{role}",
        "role": role,
        "data-dir": str(folder),
        "workspace": str(workspace),
        "signing-key": str(workspace.parent / "key.pem"),
    }


def _previewed(site: Site, config: StudyConfig = CONFIG) -> list[Leaving]:
    return list(preview_egress(site, config, clock=lambda: 0.0))


def _message(messages: list[Leaving], name: str) -> Leaving:
    return next(leaving for leaving in messages if leaving.name == name)


def _really_sent(node_config: dict[str, Scalar], study: StudyConfig) -> Iterator[bytes]:
    """The answers of the real client app to the same orders, each with the weights that came back before."""
    config = brief_study(study)
    envelope = Envelope(run=RUN, plan=plan_hash(config))
    site = open_site(node_config)
    models: dict[ModelName, StateDict] = {}
    with LocalGrid(client_app, [node_config], config.to_flat()) as grid:

        def ask(message_type: str, content: object) -> Message:
            stamped = in_envelope(content, envelope)  # type: ignore[arg-type]
            return grid.send_and_receive([Message(stamped, FIRST_NODE_ID, message_type)])[0]

        yield wire_bytes(ask(INTRODUCE, empty_content()).content)
        for phase, order in orders_for(site, config, LABEL_NAMES):
            weights = models.setdefault(phase.model, initial_weights(config, phase.model, len(LABEL_NAMES)))
            answer = ask(work_type(order.task), encode_order(order, encode_weights(weights)))
            yield wire_bytes(answer.content)
            take_signature(answer.content)
            models[phase.model] = decode_reply(answer.content).weights or weights


TASKS = {
    "source": [
        ("introduction", "introduce"),
        ("warm-up", "warm_up"),
        ("evaluate-source-only", "evaluate"),
        ("adapt", "adapt_source"),
        ("evaluate-asc-plus", "evaluate"),
        ("describe", "describe"),
        ("keep-table", "keep_table"),
        ("recolour-for-1", "recolour"),
        ("diffuse", "diffuse"),
        ("synthesise", "synthesise"),
        ("refine-for-1", "refine_source"),
    ],
    "target": [
        ("introduction", "introduce"),
        ("evaluate-source-only", "evaluate"),
        ("adapt", "adapt_target"),
        ("evaluate-asc-plus", "evaluate"),
        ("pseudo-label", "pseudo_label"),
        ("describe", "describe"),
        ("evaluate-recoloured", "evaluate"),
        ("relabel", "pseudo_label"),
        ("diffuse", "diffuse"),
        ("synthesise", "synthesise"),
        ("refine-for-1", "refine_target"),
        ("evaluate-diffuse-uda", "evaluate"),
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def shown(folders: dict[str, Path], place: Path) -> dict[str, list[Leaving]]:
    """What each role would send in a study whose statistics may be over two cases, which is what the sites have."""
    return {role: _previewed(open_site(_node_config(folders[role], role, place / role))) for role in folders}


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_preview_is_byte_for_byte_what_is_sent(
    role: str,
    folders: dict[str, Path],
    shown: dict[str, list[Leaving]],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "run_task", partial(tasks.run_task, clock=lambda: 0.0))
    sent = list(_really_sent(_node_config(folders[role], role, place / f"real-{role}"), CONFIG))
    assert len(shown[role]) == len(sent)
    for leaving, message in zip(shown[role], sent, strict=True):
        assert hashlib.sha256(leaving.wire).hexdigest() == hashlib.sha256(message).hexdigest(), leaving.name
    assert list((place / role).iterdir()) == []  # what it worked with is gone


@pytest.mark.parametrize("role", ["source", "target"])
def test_every_task_of_a_role_is_shown_once(role: str, shown: dict[str, list[Leaving]]) -> None:
    assert [(leaving.name, leaving.task) for leaving in shown[role]] == TASKS[role]
    adapt = _message(shown[role], "adapt")
    names = [tensor["name"] for tensor in adapt.facts["tensors"]]
    assert names == list(initial_weights(CONFIG, ModelName.SEGMENTER, len(LABEL_NAMES)))
    assert all(tensor["norm"] >= 0.0 for tensor in adapt.facts["tensors"])
    assert adapt.facts["scalars"].keys() == {"loss", "seconds"}


def test_scores_of_one_case_are_shown_as_withheld(shown: dict[str, list[Leaving]]) -> None:
    evaluation = _message(shown["target"], "evaluate-diffuse-uda")
    assert evaluation.facts["scalars"] == {"seconds": 0.0, "withheld-scores": 3.0}


@pytest.mark.parametrize(("policy", "told"), [("", True), ("min-cases-for-statistics = 3\n", False)])
def test_rows_of_the_class_table_are_shown_where_they_leave_and_said_to_stay_where_they_do_not(
    folders: dict[str, Path], tmp_path: Path, policy: str, *, told: bool
) -> None:
    (tmp_path / "egress.toml").write_text(policy, encoding="utf-8")
    config = {
        **_node_config(folders["source"], "source", tmp_path / "w"),
        "egress-policy": str(tmp_path / "egress.toml"),
    }
    messages = _previewed(open_site(config), tiny_config({**WITHOUT_ROUNDS, **TWO_CASES, "recolour.num-rounds": 1}))
    describe = _message(messages, "describe").facts
    norms = {tensor["name"]: tensor["norm"] for tensor in describe["tensors"]}
    for name in ("rows", "spreads", "background", "volumes"):
        assert (norms[f"class_table.{name}"] > 0) == told
    assert describe["scalars"] == ({"seconds": 0.0} if told else {"seconds": 0.0, "withheld-rows": 4.0})
    assert _message(messages, "recolour-for-1").facts["message"] == "reply"


def test_what_the_policy_refuses_is_shown_as_the_words_that_leave(folders: dict[str, Path], tmp_path: Path) -> None:
    policy = tmp_path / "egress.toml"
    policy.write_text(f'models = ["segmenter"]\nplans = ["{"0" * 64}"]\n', encoding="utf-8")
    site = open_site({**_node_config(folders["target"], "target", tmp_path / "w"), "egress-policy": str(policy)})
    shown = {leaving.name: leaving for leaving in _previewed(site)}
    words = "train.diffuse failed: RefusalError [site-model]; the reason is in this site's log"
    assert shown["diffuse"].facts["words"] == words
    assert shown["diffuse"].wire.startswith(words.encode())
    assert "words" not in shown["adapt"].facts
    assert shown["synthesise"].facts["message"] == "reply"


def test_a_site_s_own_work_is_not_touched(folders: dict[str, Path], tmp_path: Path) -> None:
    site = open_site(_node_config(folders["target"], "target", tmp_path / "w"))
    (site.workspace / "state").mkdir(parents=True)
    (site.workspace / "state" / "teacher.safetensors").write_bytes(b"kept")
    config = tiny_config({"method": "source-only"})
    _previewed(site, config)
    files = [path for path in site.workspace.rglob("*") if path.is_file()]
    assert [(path.name, path.read_bytes()) for path in files] == [("teacher.safetensors", b"kept")]


def test_bytes_and_facts_can_be_kept(folders: dict[str, Path], tmp_path: Path) -> None:
    site = open_site(_node_config(folders["source"], "source", tmp_path / "w"))
    shown = _previewed(site, tiny_config({"method": "source-only"}))
    write_messages(shown, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "00-introduction.bin",
        "01-warm-up.bin",
        "02-evaluate-source-only.bin",
        "messages.json",
    ]
    assert (tmp_path / "out" / "01-warm-up.bin").read_bytes() == shown[1].wire
    listed = json.loads((tmp_path / "out" / "messages.json").read_text(encoding="utf-8"))
    assert [said["wire_bytes"] for said in listed] == [len(leaving.wire) for leaving in shown]
    assert listed[1]["facts"]["payload"] == shown[1].facts["payload"]


def test_a_folder_needs_a_role_and_a_file_has_one(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--role source or --role target"), opened_site(folders["target"], None):
        pass
    with opened_site(folders["target"], SiteRole.TARGET) as site:
        workspace = site.workspace
        assert (site.role, site.data_dir, workspace.exists()) == (SiteRole.TARGET, folders["target"], True)
    assert not workspace.exists()
    file = tmp_path / "site.toml"
    with pytest.raises(ConfigError, match="cannot read"), opened_site(file, None):
        pass
    file.write_text(
        f"""
        site-id = "leeds"
        role = "target"
        data-dir = "{folders["target"]}"
        workspace = "work"
        state-dir = "state"
        hub = "hub.example.org:8443"
        ca = "ca.pem"
        key = "node"
        approved-bundles = "approved.txt"
        egress-policy = "egress.toml"
        """,
        encoding="utf-8",
    )
    with opened_site(file, None) as site:
        assert (site.site_id, site.role, site.workspace) == ("leeds", SiteRole.TARGET, tmp_path / "work")
        assert site.egress_policy == tmp_path / "egress.toml"


def test_a_brief_study_asks_for_the_same_tasks() -> None:
    brief = brief_study(CONFIG)
    assert (brief.adapt.num_rounds, brief.adapt.num_local_steps, brief.num_passes) == (1, 1, 1)
    assert (brief.recolour.num_rounds, brief.recolour.num_local_steps, brief.recolour.num_turns) == (1, 1, 1)
    assert brief.segmenter == CONFIG.segmenter
    site = open_site({"site-id": "x", "role": "source", "data-dir": "/d", "workspace": "/w"})
    tasks_of = {order.task for _, order in orders_for(site, brief, LABEL_NAMES)}
    assert tasks_of == {
        Task.WARM_UP,
        Task.ADAPT_SOURCE,
        Task.DESCRIBE,
        Task.KEEP_TABLE,
        Task.RECOLOUR,
        Task.DIFFUSE,
        Task.SYNTHESISE,
        Task.REFINE_SOURCE,
        Task.EVALUATE,
    }
    without = brief_study(tiny_config({"adapt.num-rounds": 0}))
    assert Task.ADAPT_SOURCE not in {order.task for _, order in orders_for(site, without, LABEL_NAMES)}
