"""What a hospital approves is the code that runs there: a corrected README asks nobody for a new approval."""

from __future__ import annotations

import io
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from simulations.rehearsal.stage import copy_app

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of a package of Flower's
def test_the_bundle_holds_the_code_and_nothing_else(tmp_path: Path) -> None:
    app = copy_app(tmp_path / "app")  # without a virtual environment in it, which Flower would look through
    for other in ("README.md", "tests/conftest.py", "results/LOG.md"):
        (app / other).parent.mkdir(exist_ok=True)
        (app / other).touch()
    names = zipfile.ZipFile(io.BytesIO(build_fab_from_disk(app))).namelist()
    code = {
        str(path.relative_to(ROOT))
        for package in ("server", "client", "diffuse_uda", "simulations")
        for path in (ROOT / package).rglob("*.py")
    }
    assert set(names) == code | {"LICENSE", "pyproject.toml", ".info/CONTENT"}


def test_the_apps_are_in_the_bundle() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    for place in app["components"].values():
        assert (ROOT / place.partition(":")[0].replace(".", "/")).with_suffix(".py").is_file()
