"""The page shows all that a message says and no more, and can be read at any width."""

from __future__ import annotations

from typing import Any

import pytest

from client.preview import Leaving
from client.preview_page import page
from client.site import open_site
from diffuse_uda.exchange.signing import fingerprint
from tests.tiny_site import tiny_config

KEY = bytes(32)
SITE = open_site({"site-id": "leeds", "role": "source", "data-dir": "/d", "workspace": "/w"})
STUDY = tiny_config({"method": "source-only", "warm-up.num-rounds": 3})


def _leaving(name: str, task: str, num_bytes: int, **facts: Any) -> Leaving:
    return Leaving(name=name, task=task, facts={"key": KEY.hex(), "tensors": [], **facts}, wire=bytes(num_bytes))


MESSAGES = [
    _leaving("introduction", "introduce", 1_000, cases=[4, 3], labels=["background", "ball"]),
    _leaving(
        "warm-up",
        "warm_up",
        2_000_000,
        cases=4,
        tensors=[
            {"name": "conv", "dtype": "float32", "shape": [2], "norm": 1.5},
            {"name": "bias", "dtype": "float32", "shape": [1], "norm": 0.25},
        ],
        scalars={"loss": 0.5, "seconds": 2.0, "withheld-rows": 4.0},
    ),
    _leaving(
        "evaluate-source-only",
        "evaluate",
        500,
        cases=1,
        scalars={"seconds": 3.0, "withheld-scores": 3.0, "withheld-scalars": 1.0},
    ),
]


def test_a_page_says_what_every_message_says() -> None:
    lines = page(MESSAGES, SITE, STUDY, width=200).splitlines()
    assert lines[0].startswith("What site leeds would send as a source in the study 'study' (method source-only, plan ")
    assert fingerprint(KEY) in " ".join(lines[:2])
    assert lines[3:14] == [
        " 1  introduction                  1,000 bytes",
        "    cases      4 for training, 3 to be scored",
        "    labels     background, ball",
        " 2  warm-up                   2,000,000 bytes",
        "    cases      4",
        "    tensors    2 of float32, norms 0.25 to 1.5 (conv)",
        "    scalars    loss 0.5, seconds 2",
        "    kept here  rows of the class table: over too few cases, they go back as they came",
        " 3  evaluate-source-only            500 bytes",
        "    cases      1",
        "    scalars    seconds 3",
    ]
    assert lines[14].endswith("scalars that the site's own policy does not list (1); means over too few cases (3)")
    # 1,000 + 3 rounds x 2,000,000 + 500 bytes
    assert lines[-1].startswith("A whole run of this study with one target: 5 messages, about 6.0 MB")


@pytest.mark.parametrize("withheld", [True, False])
def test_statistics_are_pointed_out_where_they_leave(*, withheld: bool) -> None:
    tensors = [{"name": "class_table.rows", "dtype": "float32", "shape": [2, 3], "norm": 1.0}]
    scalars = {"withheld-rows": 4.0} if withheld else {}
    describe = _leaving("warm-up", "warm_up", 10, cases=4, tensors=tensors, scalars=scalars)
    shown = page([MESSAGES[0], describe, MESSAGES[2]], SITE, STUDY, width=118)
    wanted = "    statistics class_table.rows hold what the classes look like in this site's scans"
    assert (wanted in shown.splitlines()) != withheld


@pytest.mark.parametrize("width", [60, 80, 118])
def test_a_page_is_ascii_and_as_wide_as_it_may_be(width: int) -> None:
    shown = page(MESSAGES, SITE, STUDY, width=width)
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) <= width


def test_a_refusal_is_shown_as_the_words_that_leave() -> None:
    words = "train.warm_up failed: RefusalError [site-task]; the reason is in this site's log"
    refused = [MESSAGES[0], _leaving("warm-up", "warm_up", 90, words=words), MESSAGES[2]]
    assert f"    refused    {words}" in page(refused, SITE, STUDY, width=120).splitlines()


def test_every_number_of_a_fingerprint_is_shown() -> None:
    card = _leaving("introduction", "introduce", 10, cases=[4, 0], labels=[], fingerprint={"spacing-mm.r": 1.5})
    assert "    scans      spacing-mm.r 1.5" in page([card, *MESSAGES[1:]], SITE, STUDY, width=118).splitlines()
