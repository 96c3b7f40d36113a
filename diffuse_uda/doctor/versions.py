"""Python and packages against the floors that this project declares, and against Flower's exact pin."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

INSTALL = "install exactly the locked packages: make setup, or pip install --require-hashes -r requirements.lock"

OPTIONAL_FLOORS = (Requirement("pydicom>=3.0.2"), Requirement("pynetdicom>=3.0.4"))
"""Not needed, but not to be there with a known hole either: CVE-2026-32711, CVE-2026-56445."""

_LOWER = {">=", ">", "==", "===", "~="}


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What this project says it needs."""

    python: SpecifierSet
    packages: tuple[Requirement, ...]


def observe_declared(distribution: str = "diffuse-uda") -> Declared | None:
    """Read what an installed distribution declares; None if it isn't installed."""
    try:
        described = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return None
    requirements = (Requirement(line) for line in described.get_all("Requires-Dist", []))
    return Declared(
        python=SpecifierSet(described["Requires-Python"] or ""),
        packages=tuple(one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})),
    )


def observe_installed(packages: Iterable[Requirement]) -> dict[str, str | None]:
    """Installed version of every package; None for what is missing."""
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package.name] = metadata.version(package.name)
        except metadata.PackageNotFoundError:
            versions[package.name] = None
    return versions


def check_versions() -> list[Verdict]:
    """Compare this interpreter and its packages with what the project declares."""
    declared = observe_declared()
    if declared is None:
        return [
            warned(
                "packages",
                "diffuse-uda is not installed in this Python, so its floors are unknown",
                "an installed diffuse-uda",
                f"run the doctor with the Python that runs the site; {INSTALL}",
            )
        ]
    installed = observe_installed((*declared.packages, *OPTIONAL_FLOORS))
    return [
        judge_python(platform.python_version(), declared.python),
        *judge_packages(declared.packages, installed),
    ]


def judge_python(version: str, wanted: SpecifierSet) -> Verdict:
    """This Python is one of those the project is tested with."""
    if wanted.contains(version, prereleases=True):
        return passed("python", version, str(wanted))
    return failed("python", version, str(wanted), "make the environment anew: make setup PYTHON=python3.12")


def judge_packages(required: Iterable[Requirement], installed: Mapping[str, str | None]) -> list[Verdict]:
    """One line if all packages are as declared, else one line for each that is not.

    A package below its floor, or off an exact pin, fails: floors follow known holes, and server and sites must run the
    same Flower. One above its cap is a warning: nobody has tried it.
    """
    required = list(required)
    present = [one for one in OPTIONAL_FLOORS if installed.get(one.name) is not None]
    broken = [
        verdict
        for one in (*required, *present)
        if (verdict := _judge_package(one, installed.get(one.name))) is not None
    ]
    if broken:
        return broken
    flower = installed.get("flwr", "missing")
    return [passed("packages", f"flwr {flower}, {len(required) + len(present)} packages as declared", "as declared")]


def _judge_package(package: Requirement, version: str | None) -> Verdict | None:
    wanted = str(package.specifier)
    if version is None:
        return failed(package.name, "not installed", wanted, INSTALL)
    broken = [one for one in package.specifier if not one.contains(version, prereleases=True)]
    if not broken:
        return None
    if any(one.operator in _LOWER for one in broken):
        return failed(package.name, version, wanted, INSTALL)
    return warned(package.name, f"{version}, newer than what was tested", wanted, INSTALL)
