"""What tests of studies share."""

from pathlib import Path

import pytest

from simulations.centres import Centre, check_centres


@pytest.fixture(scope="module")
def centres(small_cohort: list[Path]) -> tuple[Centre, ...]:
    return tuple(check_centres(small_cohort))
