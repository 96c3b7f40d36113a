"""The hospital's file is read strictly: what it does not say plainly lets nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffuse_uda.errors import ConfigError
from diffuse_uda.exchange.site_policy import NOTHING_NARROWED, SitePolicy, read_site_policy
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import ModelName

ROOT = Path(__file__).resolve().parents[4]


def _written(folder: Path, text: str) -> Path:
    path = folder / "egress.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_site_without_a_file_takes_the_study_s_word() -> None:
    assert read_site_policy(None) is NOTHING_NARROWED
    assert SitePolicy() == NOTHING_NARROWED


def test_every_key_can_be_written(tmp_path: Path) -> None:
    plan = "ab" * 32
    path = _written(
        tmp_path,
        f"""
        max-message-bytes = 1_000
        max-run-bytes = 20_000
        max-scalars = 8
        min-cases-for-statistics = 5
        allow-style-blocks = false
        scalars = ["loss", "dice/*"]
        dtypes = ["float32"]
        models = ["segmenter"]
        tasks = ["adapt_target"]
        plans = ["{plan}"]
        """,
    )
    assert read_site_policy(path) == SitePolicy(
        max_message_bytes=1000,
        max_run_bytes=20000,
        max_scalars=8,
        min_cases_for_statistics=5,
        allow_style_blocks=False,
        scalars=frozenset({"loss", "dice/*"}),
        dtypes=frozenset({"float32"}),
        models=frozenset({ModelName.SEGMENTER}),
        tasks=frozenset({Task.ADAPT_TARGET}),
        plans=frozenset({plan}),
    )


def test_the_example_explains_every_key_and_can_be_used(tmp_path: Path) -> None:
    example = (ROOT / "client" / "deploy" / "egress.toml").read_text(encoding="utf-8")
    assert read_site_policy(_written(tmp_path, example)) == NOTHING_NARROWED
    lines = [line.removeprefix("# ") for line in example.splitlines() if " = " in line and "plans" not in line]
    policy = read_site_policy(_written(tmp_path, "\n".join([*lines, f'plans = ["{"0" * 64}"]'])))
    assert all(value is not None for _, value in policy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max-mesage-bytes = 5", "max-mesage-bytes"),
        ("max_message_bytes = 5", "keys are written with hyphens"),
        ('max-run-bytes = "5"', "max-run-bytes: found '5'"),
        ("max-run-bytes = true", "max-run-bytes: found True"),
        ("max-scalars = 0", "max-scalars: found 0"),
        ('models = ["classifier"]', "classifier"),
        ('plans = ["abc"]', "abc"),
        ("dtypes = 1979-05-27", "dtypes"),
        ("= 5", "cannot read"),
    ],
)
def test_a_file_that_is_not_understood_lets_nothing_out(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="the site's egress policy") as caught:
        read_site_policy(_written(tmp_path, text))
    assert said in str(caught.value)


def test_a_file_that_is_named_and_missing_lets_nothing_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the site's egress policy .*nowhere.toml"):
        read_site_policy(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("key", "allowed"), [("loss", True), ("dice", False), ("dice/ball", True), ("hd95-mm/ball", False), ("*", False)]
)
def test_a_star_stands_for_every_label(key: str, *, allowed: bool) -> None:
    assert SitePolicy(scalars=frozenset({"loss", "dice/*"})).allows_scalar(key) is allowed
    assert SitePolicy().allows_scalar(key)
