"""A study file that the fingerprints of a run lead to."""

from __future__ import annotations

import json
from pathlib import Path

from diffuse_uda.config import StudyConfig
from diffuse_uda.data.fingerprint import Fingerprint
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.types import SiteRole
from server.plan_files import NUMBERS_FILE, PLAN_FILE, write_plan

ASKING = StudyConfig.from_flat({"method": "plan", "exchange.allow-fingerprints": True, "adapt.num-rounds": 3})
PRINT = Fingerprint(
    spacing_mm=(2.0, 4.0, 4.0), extent_mm=(160.0, 192.0, 160.0), lowest=0.0, highest=900.0, memory_gib=16.0
)


def _card(name: str, fingerprint: Fingerprint | None) -> SiteCard:
    role = SiteRole.SOURCE if name == "york" else SiteRole.TARGET
    return SiteCard(site_id=name, role=role, num_cases=5, label_names=("background", "heart"), fingerprint=fingerprint)


def test_the_plan_is_a_study_that_asks_for_no_fingerprints_any_more(tmp_path: Path) -> None:
    planned = write_plan(tmp_path, ASKING, [_card("york", PRINT), _card("leeds", None)])
    assert planned is not None
    read = StudyConfig.from_toml(tmp_path / PLAN_FILE)
    assert read == planned
    assert (read.method, read.exchange.allow_fingerprints, read.adapt.num_rounds) == ("diffuse-uda", False, 3)
    assert read.grid.spacing_mm == (2.0, 4.0, 4.0)
    assert read.grid.patch_size == (80, 48, 40)


def test_every_number_that_it_was_made_from_lies_beside_it(tmp_path: Path) -> None:
    planned = write_plan(tmp_path, ASKING, [_card("york", PRINT), _card("leeds", None)])
    numbers = json.loads((tmp_path / NUMBERS_FILE).read_text(encoding="utf-8"))
    assert numbers["sites"] == {"york": PRINT.numbers()}
    assert numbers["silent"] == ["leeds"]
    assert planned is not None
    assert numbers["hash"] == plan_hash(planned)
    assert f"# hash {plan_hash(planned)}" in (tmp_path / PLAN_FILE).read_text(encoding="utf-8")


def test_without_a_fingerprint_there_is_no_plan(tmp_path: Path) -> None:
    assert write_plan(tmp_path, ASKING, [_card("york", None)]) is None
    assert list(tmp_path.iterdir()) == []
