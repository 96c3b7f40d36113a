"""A site is what its own node-config says."""

import pytest

from client.site import open_site
from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole

COMPLETE: dict[str, str | int | bool] = {"site-id": "leeds", "role": "target", "data-dir": "scans", "workspace": "work"}


def test_a_site_reads_its_own_config() -> None:
    site = open_site({**COMPLETE, "num-threads": 2, "allow-style-blocks": True})
    assert (site.site_id, site.role, site.num_threads, site.allow_style_blocks) == ("leeds", SiteRole.TARGET, 2, True)


def test_style_blocks_stay_unless_the_site_itself_allows_them() -> None:
    assert open_site(COMPLETE).allow_style_blocks is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"role": "observer"}, "role: found 'observer'"),
        ({"data_dir": "x"}, r"unknown node-config keys \['data_dir'\]"),
        ({"evaluation-part": "train"}, "evaluation-part"),
    ],
)
def test_a_wrong_key_is_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_site({**COMPLETE, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"lacks .'workspace'"):
        open_site({key: value for key, value in COMPLETE.items() if key != "workspace"})
