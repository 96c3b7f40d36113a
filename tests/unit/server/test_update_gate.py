"""Every row of the update catalogue: refused with site, tensor and reason, kept apart, and the round goes on."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from safetensors.torch import load_file

from diffuse_uda.algorithms.outliers import GateLimits
from diffuse_uda.algorithms.update_change import TensorChange, UpdateChange
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import AggregationError, QuorumError
from diffuse_uda.exchange.flower import encode_reply
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.methods import build_method
from diffuse_uda.methods.phase import PhaseName
from diffuse_uda.types import StateDict, WeightUpdate
from server.update_gate import UNTRAINED, UpdateGate
from server.workflow import Step
from tests.voxel_federation import Attack, VoxelFederation, cards, config, trained, with_weights

NAN, INF = math.nan, math.inf


def _tensors(**changed: torch.Tensor) -> Attack:
    names = {"bias": "2.bias", "weight": "0.weight"}
    return with_weights(
        lambda name, sent, _received: {names[key]: value for key, value in changed.items()}.get(name, sent)
    )


def _weights(change: Callable[[StateDict], StateDict]) -> Attack:
    return lambda reply, _received, _order: replace(reply, weights=change(dict(reply.weights or {})))


def _reply(**changed: object) -> Attack:
    return lambda reply, _received, _order: replace(reply, **changed)  # type: ignore[arg-type]


def _content(change: Callable[[RecordDict], RecordDict]) -> Attack:
    return lambda reply, _received, _order: change(encode_reply(reply))


def _any(content: RecordDict, name: str) -> Any:
    return content[name]


def _layout(content: RecordDict, **changed: list[str]) -> RecordDict:
    content["weights-layout"] = ConfigRecord({**_any(content, "weights-layout"), **changed})
    return content


def _buffer(content: RecordDict, change: Callable[[bytes], bytes]) -> RecordDict:
    old = _any(content, "weights")["0"].data
    content["weights"] = ArrayRecord({"0": Array("uint8", (len(change(old)),), "raw-little-endian", change(old))})
    return content


def _count(value: object) -> Attack:
    def change(content: RecordDict) -> RecordDict:
        content["reply"] = ConfigRecord({} if value is None else {"num-examples": value})  # type: ignore[dict-item]
        return content

    return _content(change)


def _pickled(content: RecordDict) -> RecordDict:
    array = Array("object", (1,), "numpy.ndarray", b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    content["weights"] = ArrayRecord({"0": array})
    return content


CATALOGUE: dict[str, tuple[Attack, str]] = {
    # U01
    "one NaN": (_tensors(bias=torch.tensor([NAN, 0.0])), r"'2.bias' holds 1 NaN or infinite values of 2"),
    "plus infinity": (_tensors(bias=torch.tensor([INF, 0.0])), r"'2.bias' holds 1 NaN or infinite"),
    "minus infinity": (_tensors(bias=torch.tensor([-INF, -INF])), r"'2.bias' holds 2 NaN or infinite"),
    # U02
    "1e30": (_tensors(bias=torch.tensor([1e30, 0.0])), r"'2.bias' moved by 1e\+30; 15 steps"),
    "the largest number there is": (_tensors(bias=torch.tensor([3.4e38, -3.4e38])), r"'2.bias' moved by 3\.4e\+38"),
    "a hundred times as far": (
        with_weights(lambda _name, sent, received: received + 100.0 * (sent - received)),
        r"steps of this round's optimiser move no value farther than",
    ),
    # U03
    "a broadcastable shape": (_tensors(bias=torch.zeros(1)), r"'2.bias' is torch.float32 of shape \(1,\), wanted"),
    "another rank": (_tensors(bias=torch.zeros(2, 2)), r"'2.bias' is torch.float32 of shape \(2, 2\), wanted"),
    "no dimensions": (_tensors(bias=torch.tensor(0.0)), r"'2.bias' is torch.float32 of shape \(\), wanted"),
    # U04
    "a missing tensor": (_weights(lambda weights: {k: v for k, v in weights.items() if k != "2.bias"}), "missing"),
    "a foreign tensor": (
        _weights(lambda weights: {**weights, "image": torch.zeros(9)}),
        r"unknown tensors \['image'\]",
    ),
    "a tensor with a name like a book": (
        _weights(lambda weights: {**weights, "x" * 1_000_000: torch.zeros(1)}),
        rf"unknown tensors \['{'x' * 80}'\]",
    ),
    "names with a prefix": (
        _weights(lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()}),
        r"missing tensors .* unknown tensors \['module.0.bias'",
    ),
    "nothing at all": (_weights(lambda _weights: {}), "holds no tensors"),
    "no weights": (_reply(weights=None), "holds no tensors"),
    # U06 and integer weights
    "bfloat16": (
        _weights(lambda w: {k: v.bfloat16() for k, v in w.items()}),
        r"is torch.bfloat16 .* wanted torch.float32",
    ),
    "double": (_weights(lambda w: {k: v.double() for k, v in w.items()}), r"is torch.float64"),
    "integers": (_weights(lambda w: {k: v.long() for k, v in w.items()}), r"is torch.int64"),
    # U07
    "0 cases": (_reply(num_examples=0), "num_examples is 0"),
    "-9 cases": (_reply(num_examples=-9), "num_examples is -9"),
    "1e18 cases": (_reply(num_examples=10**18), "num_examples is 1000000000000000000"),
    "one case more than at the introduction": (
        _reply(num_examples=5),
        "claims 5 cases, the site introduced itself with 4",
    ),
    "cases as a fraction": (_count(4.0), "'num-examples' is float, wanted int"),
    "NaN cases": (_count(NAN), "'num-examples' is float, wanted int"),
    "infinitely many cases": (_count(INF), "'num-examples' is float, wanted int"),
    "cases as a text": (_count("4"), "'num-examples' is str, wanted int"),
    "yes cases": (_count(True), "'num-examples' is bool, wanted int"),
    "no number of cases": (_count(None), "'num-examples' is NoneType, wanted int"),
    # U10
    "a pickle": (_content(_pickled), "wanted buffers 0, 1, 2, ... of kind 'raw-little-endian'"),
    # U15 and what a table can claim
    "a truncated buffer": (_content(lambda c: _buffer(c, lambda data: data[:-4])), "its buffer has"),
    "a buffer with something behind": (_content(lambda c: _buffer(c, lambda data: data + b"spy!")), "its tensors only"),
    "a shape of 400 GB": (
        _content(lambda c: _layout(c, shapes=["100000000000", *_any(c, "weights-layout")["shapes"][1:]])),
        "needs 400000000000 bytes",
    ),
    "a shape of nothing times everything": (
        _content(
            lambda c: _layout(c, shapes=["0x999999999999x999999999999", *_any(c, "weights-layout")["shapes"][1:]])
        ),
        "site|reply|bytes",
    ),
    "a negative shape": (
        _content(lambda c: _layout(c, shapes=["-16", *_any(c, "weights-layout")["shapes"][1:]])),
        "has no shape but '-16'",
    ),
    "one name twice": (
        _content(lambda c: _layout(c, names=["0.bias", *_any(c, "weights-layout")["names"][1:]])),
        "names one tensor twice",
    ),
    "an unknown dtype": (_content(lambda c: _layout(c, dtypes=["object"] * 4)), r"dtypes \['object'\]"),
    "a foreign record": (_content(lambda c: RecordDict({**c, "spy": ConfigRecord({})})), r"unknown ones \['spy'\]"),
    "metrics that are lists": (
        _content(lambda c: RecordDict({**c, "metrics": MetricRecord({"loss": [1.0, 2.0]})})),
        "no single numbers",
    ),
}


@pytest.mark.parametrize("fault", CATALOGUE)
@pytest.mark.fault("updates")
def test_a_bad_update_is_refused_with_its_reason_kept_apart_and_the_round_goes_on(fault: str, tmp_path: Path) -> None:
    attack, reason = CATALOGUE[fault]
    run = VoxelFederation(tmp_path, attack, num_targets=2)
    run.run(2)
    assert run.ends() == ["rejected", "rejected"]
    assert run.ends("source") == run.ends("target-0") == ["used", "used"]
    assert [record.sites["target-0"].share for record in run.records] == [0.5, 0.5]
    said = run.reasons()[0]
    assert len(said) < 1000
    assert re.search(reason, said), said
    places = sorted((tmp_path / "quarantine" / "target-1").iterdir())
    assert [place.name for place in places] == ["adapt-0001", "adapt-0002"]
    assert json.loads((places[0] / "reason.json").read_text())["reason"] == said


def test_the_refused_weights_can_be_looked_at_and_never_enter_the_average(tmp_path: Path) -> None:
    for name in ("poisoned", "empty"):
        (tmp_path / name).mkdir()
    poisoned = VoxelFederation(tmp_path / "poisoned", _tensors(bias=torch.tensor([NAN, 1.0])), num_targets=2).run(1)
    kept = load_file(tmp_path / "poisoned" / "quarantine" / "target-1" / "adapt-0001" / "weights.safetensors")
    assert kept["2.bias"][1].item() == 1.0
    # The same as if the site had sent nothing.
    empty = VoxelFederation(tmp_path / "empty", _reply(weights=None), num_targets=2).run(1)
    assert all(torch.equal(empty[name], poisoned[name]) for name in empty)


def test_negative_zeros_and_denormal_numbers_are_numbers(tmp_path: Path) -> None:
    # The first bias is not zero at the start, so a step cannot lead there; the weights' smallest change can be tiny.
    attack = with_weights(lambda name, sent, received: received + 1e-42 if name == "0.bias" else sent)
    run = VoxelFederation(tmp_path, attack, num_targets=2)
    run.run(1)
    assert run.ends() == ["used"]


@pytest.mark.fault("updates")
def test_an_update_without_training_is_used_with_a_warning(tmp_path: Path) -> None:
    run = VoxelFederation(tmp_path, with_weights(lambda _name, _sent, received: received), num_targets=2)
    run.run(2)
    assert run.ends() == ["used", "used"]
    assert run.records[0].sites["target-1"].warnings == (UNTRAINED,)
    assert run.records[0].sites["target-0"].warnings == ()


@pytest.mark.fault("updates")
def test_of_two_equal_updates_the_first_in_the_order_of_the_domains_counts(tmp_path: Path) -> None:
    # The last target trains on the first target's voxels with its random numbers: a folder that two sites share.
    def copy(reply: SiteReply, received: StateDict, order: WorkOrder) -> SiteReply:
        return replace(reply, weights=trained(received, 1, order))

    run = VoxelFederation(tmp_path, copy, num_targets=2)
    run.run(1)
    assert run.ends() == ["rejected"]
    assert run.reasons()[0].startswith("site 'target-1': this is a copy of what site 'target-0' sent, value by value")
    assert run.ends("target-0") == ["used"]


def test_scalars_that_are_not_on_the_list_are_dropped_and_end_nothing(tmp_path: Path) -> None:
    metrics = {"loss": NAN, "confidence": 0.5, "DOE_JANE": 1.0, "dice/ball": 0.25, "dice/spy": 0.5, "dice/": 0.1}
    metrics |= {f"key-{index}": 1.0 for index in range(10_000)}
    run = VoxelFederation(tmp_path, _reply(metrics=metrics), num_targets=2)
    run.run(1)
    site = run.records[0].sites["target-1"]
    assert (site.state.value, dict(site.metrics)) == ("used", {"confidence": 0.5, "dice/ball": 0.25})
    assert site.warnings == ("10004 scalars that are not on the list were dropped",)
    json.dumps(dict(site.metrics), allow_nan=False)


def test_a_reply_beyond_the_budget_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    run = VoxelFederation(tmp_path, num_targets=2)
    run.federation.config = _with_budget(run.federation.config, 500)
    with pytest.raises(QuorumError):
        run.run(1)
    assert "bytes, exchange.max-message-bytes allows 500" in run.reasons()[0]


def _with_budget(study: StudyConfig, num_bytes: int) -> StudyConfig:
    return study.model_copy(update={"exchange": study.exchange.model_copy(update={"max_message_bytes": num_bytes})})


# Against history and company, with numbers instead of weights.

STEP = Step(
    phase=next(phase for phase in build_method(config(2)).phases if phase.name is PhaseName.ADAPT),
    server_round=1,
    number=1,
)


def _moved(amount: float, *, head: float | None = None) -> UpdateChange:
    """A change of two tensors of 90 and 10 values; spread evenly unless the small one is given."""
    small = amount * 0.1**0.5 if head is None else head
    return UpdateChange(
        tensors={
            "body": TensorChange(norm=amount * 0.9**0.5, largest=amount, size=90),
            "head": TensorChange(norm=small, largest=small, size=10),
        }
    )


def _gate(folder: Path, num_targets: int = 2) -> UpdateGate:
    return UpdateGate(
        config=config(num_targets), sites=cards(num_targets), folder=folder, limits=GateLimits(min_voices=99)
    )


def _refused(gate: UpdateGate, server_round: int, **amounts: UpdateChange) -> dict[str, str]:
    changes = {name.replace("_", "-"): change for name, change in amounts.items()}
    return gate.outliers(replace(STEP, server_round=server_round), changes, {}, {})


def test_in_round_1_a_target_is_compared_with_the_source(tmp_path: Path) -> None:
    honest = {"source": _moved(1.0), "target_0": _moved(1.5)}
    assert _refused(_gate(tmp_path), 1, **honest, target_1=_moved(5.0)) == {}
    refused = _refused(_gate(tmp_path), 1, **honest, target_1=_moved(50.0))
    assert list(refused) == ["target-1"]
    # Others are 1 and 1.5, the upper middle one is 1.5.
    assert refused["target-1"].startswith("site 'target-1': the update moved 33.3 times as far as in its own earlier")


def test_the_source_is_compared_with_itself_alone(tmp_path: Path) -> None:
    gate = _gate(tmp_path)
    targets = {"target_0": _moved(0.01), "target_1": _moved(0.011)}
    assert _refused(gate, 1, source=_moved(1.0), **targets) == {}
    gate.remember(STEP, {"source": _moved(1.0)})
    assert list(_refused(gate, 2, source=_moved(30.0), **targets)) == ["source"]


def test_history_outlives_the_process(tmp_path: Path) -> None:
    _gate(tmp_path).remember(STEP, {"target-1": _moved(1.0)})
    alone = {"target_1": _moved(30.0)}
    assert list(_refused(_gate(tmp_path), 2, **alone)) == ["target-1"]
    assert _refused(_gate(tmp_path), 1, **alone) == {}  # of its own round there is no history


def test_one_tensor_out_of_line_is_named(tmp_path: Path) -> None:
    gate = _gate(tmp_path)
    gate.remember(STEP, {"source": _moved(1.0), "target-1": _moved(1.0)})
    # A tenth of the values held a tenth of the squared norm, 0.316; 5 is 16 times as much, the whole 5.1 times.
    refused = _refused(gate, 2, source=_moved(1.0), target_1=_moved(1.0, head=5.0))
    assert refused["target-1"].startswith("site 'target-1': tensor 'head' moved")
    assert _refused(gate, 2, source=_moved(1.0), target_1=_moved(1.0, head=2.0)) == {}


def test_a_tensor_that_has_hardly_moved_may_begin_to(tmp_path: Path) -> None:
    gate = _gate(tmp_path)
    gate.remember(STEP, {"source": _moved(1.0, head=1e-6), "target-1": _moved(1.0, head=1e-6)})
    assert _refused(gate, 2, source=_moved(1.0), target_1=_moved(1.1)) == {}


def test_a_tiny_model_is_not_compared_by_its_norms(tmp_path: Path) -> None:
    def tiny(amount: float) -> UpdateChange:
        return UpdateChange(tensors={"w": TensorChange(norm=amount, largest=amount, size=3)})

    assert _refused(_gate(tmp_path), 1, source=tiny(1.0), target_1=tiny(1000.0)) == {}


@pytest.mark.fault("updates")
def test_where_nothing_is_trained_no_trained_value_moves(tmp_path: Path) -> None:
    """A description sets its row of a table; the rest of the model that goes round with it stays what it is."""
    phase = next(phase for phase in build_method(config(2)).phases if phase.name is PhaseName.DESCRIBE)
    step = replace(STEP, phase=phase)
    sent = {"conv.weight": torch.ones(2), "class_table.rows": torch.zeros(3, 2)}
    described = {**sent, "class_table.rows": torch.tensor([[0.0, 0.0], [0.5, -0.5], [0.0, 0.0]])}

    def examined(weights: StateDict) -> UpdateChange:
        update = WeightUpdate(site_id="target-0", weights=weights, num_examples=1)
        return _gate(tmp_path).examine(step, update, sent, sent)

    assert examined(described).norm == 0.0
    moved = {**described, "conv.weight": torch.tensor([1.0, 1.0 + 1e-4])}
    with pytest.raises(AggregationError, match=r"'conv.weight' moved by 0\.0001; 0 steps"):
        examined(moved)


@pytest.mark.parametrize("num_rounds", [1, 2, 6])
@pytest.mark.parametrize("num_targets", [1, 2, 5])
@pytest.mark.fault("updates")
def test_honest_work_is_never_refused(num_targets: int, num_rounds: int, tmp_path: Path) -> None:
    run = VoxelFederation(tmp_path, num_targets=num_targets)
    run.run(num_rounds)
    assert {end for card in run.sites for end in run.ends(card.site_id)} == {"used"}
