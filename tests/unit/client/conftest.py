"""Two tiny sites for the tests of what clients do."""

from pathlib import Path

import pytest

from client.site import Site
from tests.tiny_site import tiny_cohort, tiny_site


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny_cohort(tmp_path_factory.mktemp("cohort") / "small")


@pytest.fixture
def source(cohort: list[Path], tmp_path: Path) -> Site:
    return tiny_site(cohort[0], "source", tmp_path)


@pytest.fixture
def target(cohort: list[Path], tmp_path: Path) -> Site:
    return tiny_site(cohort[1], "target", tmp_path)
