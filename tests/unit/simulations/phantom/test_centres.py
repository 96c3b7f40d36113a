from __future__ import annotations

from dataclasses import replace

import pytest

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole
from simulations.phantom.centres import DEFAULT_CENTRES, SOURCE_T1W


def test_the_default_federation_has_one_source_and_two_targets_of_other_sequences() -> None:
    assert [centre.role for centre in DEFAULT_CENTRES] == [SiteRole.SOURCE, SiteRole.TARGET, SiteRole.TARGET]
    assert len({type(centre.scanner.sequence) for centre in DEFAULT_CENTRES}) == 3


@pytest.mark.parametrize("site_id", ["", "../up", "a b", "Upper"])
def test_a_name_that_is_no_folder_is_refused(site_id: str) -> None:
    with pytest.raises(ConfigError, match="is no folder name"):
        replace(SOURCE_T1W, site_id=site_id)


@pytest.mark.parametrize("wrong", [{"num_train": 0}, {"num_test": -1}, {"num_development": -1}])
def test_a_site_without_training_scans_or_with_less_than_none_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="wanted at least 1, 0 and 0"):
        replace(SOURCE_T1W, **wrong)  # type: ignore[arg-type]
