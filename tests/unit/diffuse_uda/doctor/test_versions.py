"""Versions: below a floor or off a pin fails, above a cap warns."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from diffuse_uda.doctor import versions
from diffuse_uda.doctor.verdict import Status
from diffuse_uda.doctor.versions import (
    check_versions,
    judge_packages,
    judge_python,
    observe_declared,
    observe_installed,
)

REQUIRED = [Requirement("flwr==1.41.0"), Requirement("torch>=2.10,<2.15"), Requirement("monai>=1.5.2")]
GOOD = {"flwr": "1.41.0", "torch": "2.14.1+cpu", "monai": "1.6.1"}


@pytest.mark.parametrize(
    ("version", "status"), [("3.11.0", Status.PASS), ("3.13.4", Status.PASS), ("3.10.9", Status.FAIL)]
)
def test_python_is_one_of_the_tested(version: str, status: Status) -> None:
    assert judge_python(version, SpecifierSet(">=3.11,<3.14")).status is status


def test_packages_as_declared_are_one_line() -> None:
    (line,) = judge_packages(REQUIRED, GOOD)
    assert line.status is Status.PASS
    assert line.found == "flwr 1.41.0, 3 packages as declared"


@pytest.mark.parametrize(
    ("installed", "status", "words"),
    [
        ({"torch": "2.9.1"}, Status.FAIL, ("torch", "2.9.1", "<2.15,>=2.10")),
        ({"monai": "1.5.1"}, Status.FAIL, ("monai", "1.5.1", ">=1.5.2")),
        ({"flwr": "1.41.1"}, Status.FAIL, ("flwr", "1.41.1", "==1.41.0")),
        ({"flwr": None}, Status.FAIL, ("flwr", "not installed", "==1.41.0")),
        ({"torch": "2.15.0"}, Status.WARN, ("torch", "2.15.0, newer than what was tested", "<2.15,>=2.10")),
        ({"pydicom": "3.0.1"}, Status.FAIL, ("pydicom", "3.0.1", ">=3.0.2")),
    ],
)
def test_every_deviation_is_a_line_of_its_own(
    installed: dict[str, str | None], status: Status, words: tuple[str, str, str]
) -> None:
    (line,) = judge_packages(REQUIRED, {**GOOD, **installed})
    assert (line.status, line.check, line.found, line.wanted) == (status, *words)


def test_a_package_nobody_needs_may_be_missing_or_new() -> None:
    assert [line.status for line in judge_packages(REQUIRED, {**GOOD, "pydicom": None})] == [Status.PASS]
    (line,) = judge_packages(REQUIRED, {**GOOD, "pydicom": "3.0.2"})
    assert "4 packages" in line.found


def test_the_project_declares_the_floors_of_known_holes_and_flowers_exact_version() -> None:
    declared = observe_declared()
    assert declared is not None
    by_name = {one.name: one.specifier for one in declared.packages}
    assert not by_name["torch"].contains("2.9.9")
    assert not by_name["monai"].contains("1.5.1")
    assert not by_name["flwr"].contains("1.41.1")
    assert by_name["flwr"].contains("1.41.0")
    assert "pytest" not in by_name  # an extra is nobody's need


def test_this_environment_is_as_declared_or_told_line_by_line() -> None:
    assert all(line.found for line in check_versions())
    assert observe_installed([Requirement("no-such-package-anywhere")]) == {"no-such-package-anywhere": None}


def test_a_checkout_that_is_not_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert observe_declared("no-such-package-anywhere") is None
    monkeypatch.setattr(versions, "observe_declared", lambda: None)
    (line,) = check_versions()
    assert line.status is Status.WARN
