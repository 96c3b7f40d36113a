"""What a finished run leaves for people."""

from pathlib import Path
from typing import Any, cast

from diffuse_uda.types import SiteRole
from simulations.centres import Centre
from simulations.outcome import domains_of


def _centre(site_id: str, role: SiteRole) -> Centre:
    return Centre(site_id=site_id, role=role, folder=Path(site_id), files=cast("Any", None))


def test_a_target_s_domain_is_its_place_by_name_whatever_the_order_it_was_named_in() -> None:
    centres = [
        _centre("source", SiteRole.SOURCE),
        _centre("target_t2w", SiteRole.TARGET),
        _centre("target_flair", SiteRole.TARGET),
    ]
    assert domains_of(centres) == {"target_flair": 1, "target_t2w": 2}
