"""Before round 1 everybody who is online says who they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from diffuse_uda.config import FederationConfig, StudyConfig
from diffuse_uda.errors import ConfigError, QuorumError, SiteTaskError
from diffuse_uda.exchange.flower import ErrorCode, encode_card, error_reply
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.run_options import RunOptions
from server.introductions import meet_sites
from server.mail import Mail
from simulations.engines.local_grid import FIRST_NODE_ID, LocalGrid
from tests.fake_federation import SOURCE, TARGET_A, TARGET_B

CONFIG = StudyConfig(federation=FederationConfig(join_timeout_s=0.5))
OPTIONS = RunOptions(run_dir=Path("run"))

Behaviour = Callable[[Message, int], Message]


def _cards(*cards: SiteCard) -> Behaviour:
    return lambda message, index: Message(encode_card(cards[index]), reply_to=message)


def _grid(behaviour: Behaviour, num_nodes: int = 3) -> LocalGrid:
    app = ClientApp()

    @app.query("introduce")
    def introduce(message: Message, context: Context) -> Message:
        return behaviour(message, context.node_id - FIRST_NODE_ID)

    return LocalGrid(app, [{}] * num_nodes, {})


def test_every_node_s_card_is_known_by_its_address() -> None:
    with _grid(_cards(TARGET_B, SOURCE, TARGET_A)) as grid:
        met = meet_sites(Mail(grid), CONFIG, OPTIONS)
    assert met == {FIRST_NODE_ID: TARGET_B, FIRST_NODE_ID + 1: SOURCE, FIRST_NODE_ID + 2: TARGET_A}


def test_the_server_waits_for_those_who_come_later() -> None:
    class Growing(LocalGrid):
        looks = 0

        def get_node_ids(self) -> list[int]:
            self.looks += 1
            return super().get_node_ids()[: self.looks]

    app = ClientApp()
    asked: list[int] = []

    @app.query("introduce")
    def introduce(message: Message, context: Context) -> Message:
        asked.append(context.node_id)
        return _cards(TARGET_B, SOURCE, TARGET_A)(message, context.node_id - FIRST_NODE_ID)

    with Growing(app, [{}] * 3, {}) as grid:
        met = meet_sites(Mail(grid), CONFIG, OPTIONS, sleep=lambda _seconds: None)
    assert sorted(met) == [FIRST_NODE_ID, FIRST_NODE_ID + 1, FIRST_NODE_ID + 2]
    assert len(asked) == 3


def test_waiting_for_targets_ends_with_those_who_came() -> None:
    with _grid(_cards(SOURCE), num_nodes=1) as grid:
        assert meet_sites(Mail(grid), CONFIG, OPTIONS) == {FIRST_NODE_ID: SOURCE}


@pytest.mark.fault("R-08")
def test_nobody_at_all_is_an_error() -> None:
    with _grid(_cards(), num_nodes=0) as grid, pytest.raises(QuorumError, match=r"no site joined within 0\.5 s"):
        meet_sites(Mail(grid), CONFIG, OPTIONS, sleep=lambda _seconds: None)


def test_a_site_with_bad_data_stops_the_study_before_round_1() -> None:
    def behave(message: Message, index: int) -> Message:
        if index == 2:
            return error_reply(ErrorCode.TASK_FAILED, "query.introduce failed: InputError [empty-folder]", message)
        return _cards(SOURCE, TARGET_A)(message, index)

    with _grid(behave) as grid, pytest.raises(SiteTaskError, match=r"1 of 3 sites .* InputError \[empty-folder\]"):
        meet_sites(Mail(grid), CONFIG, OPTIONS)


def test_a_card_that_cannot_be_read_stops_the_study_too() -> None:
    with (
        _grid(lambda message, _index: Message(RecordDict(), reply_to=message), 1) as grid,
        pytest.raises(SiteTaskError, match="lacks the records"),
    ):
        meet_sites(Mail(grid), CONFIG, OPTIONS)


def test_a_node_that_never_answers_is_not_waited_for_beyond_the_deadline() -> None:
    app = ClientApp()
    app.query("introduce")(lambda message, context: _cards(SOURCE, TARGET_A)(message, context.node_id - FIRST_NODE_ID))
    lost = FIRST_NODE_ID + 1

    def lose(reply: Message) -> Message | None:
        return None if reply.metadata.src_node_id == lost else reply

    with LocalGrid(app, [{}] * 2, {}, on_return=lose) as grid:
        assert meet_sites(Mail(grid), CONFIG, OPTIONS) == {FIRST_NODE_ID: SOURCE}


def _nobody_until(path: Path) -> Behaviour:
    def behave(message: Message, index: int) -> Message:
        if not path.exists():
            return error_reply(ErrorCode.SITE_UNASSIGNED, "this node plays no site yet", message)
        return _cards(SOURCE, TARGET_A, TARGET_B)(message, index)

    return behave


def _module(monkeypatch: pytest.MonkeyPatch, **contents: object) -> None:
    module = ModuleType("casting")
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, "casting", module)


def test_simulated_nodes_that_are_nobody_get_their_sites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Path, int]] = []
    path = tmp_path / "sites.json"

    def cast(sites_file: Path, num_nodes: int) -> None:
        calls.append((sites_file, num_nodes))
        sites_file.write_text("[]", encoding="utf-8")

    _module(monkeypatch, cast=cast)
    options = replace(OPTIONS, sites_file=path, prepare_sites="casting:cast")
    with _grid(_nobody_until(path)) as grid:
        assert len(meet_sites(Mail(grid), CONFIG, options)) == 3
    assert calls == [(path, 3)]


def test_a_preparation_that_prepares_nothing_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "sites.json"
    _module(monkeypatch, cast=lambda _file, _num: None)
    options = replace(OPTIONS, sites_file=path, prepare_sites="casting:cast")
    with _grid(_nobody_until(path)) as grid, pytest.raises(ConfigError, match="do not know which site they play"):
        meet_sites(Mail(grid), CONFIG, options)


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        ("", "3 simulated nodes do not know which site they play"),
        ("nowhere:cast", "cannot find 'nowhere:cast'"),
        ("casting:missing", "cannot find 'casting:missing'"),
        (":cast", "wanted module:function"),
        ("casting:number", "is int; wanted a function"),
    ],
)
def test_a_preparation_that_cannot_be_found_is_named(
    reference: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _module(monkeypatch, number=3)
    options = replace(OPTIONS, sites_file=tmp_path / "sites.json", prepare_sites=reference)
    with _grid(_nobody_until(tmp_path / "sites.json")) as grid, pytest.raises(ConfigError, match=wrong):
        meet_sites(Mail(grid), CONFIG, options)
