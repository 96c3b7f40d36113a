"""Flower's private parts are touched in one file, for one version: whatever changes there is named, all at once."""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from importlib import metadata
from pathlib import Path

import pytest

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from client.site_launcher import superexec_options as site_superexec_options
from client.site_launcher import supernode_options
from client.site_settings import SiteSettings
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.exchange import flower_internals
from diffuse_uda.exchange.flower_internals import (
    FLOWER_VERSION,
    TOUCHED,
    FlowerPinError,
    app_bundle_sha256,
    program_options,
    require_pinned_flower,
    script,
)
from server.hub import superexec_options, superlink_options
from server.hub_settings import HubSettings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("program", sorted(TOUCHED))
def test_every_touched_name_is_what_it_was(program: str) -> None:
    require_pinned_flower(program)


def test_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "1.42.0")
    with pytest.raises(FlowerPinError, match=r"version: found 1\.42\.0; wanted 1\.41\.0") as caught:
        require_pinned_flower()
    assert f"Install flwr=={FLOWER_VERSION}" in str(caught.value)


def test_every_difference_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    node = importlib.import_module("flwr.supernode.start_client_internal")
    connection = importlib.import_module("flwr.supernode.fleet_http_connection")
    monkeypatch.setattr(node, "_verify_fab", lambda fab: fab)
    monkeypatch.setattr(connection, "HEARTBEAT_DEFAULT_INTERVAL", 60)
    monkeypatch.delattr(node, "FAB_VERIFICATION_ERROR")
    with pytest.raises(FlowerPinError) as caught:
        require_pinned_flower("flower-supernode")
    said = str(caught.value)
    assert "_verify_fab: found (fab); wanted (fab, trusted_entities)" in said
    assert "HEARTBEAT_DEFAULT_INTERVAL: found 60; wanted 30" in said
    assert "FAB_VERIFICATION_ERROR: found nothing; wanted any value" in said


def test_the_pin_of_the_project_is_the_pin_of_the_file() -> None:
    assert f'"flwr>=1.41.0,=={FLOWER_VERSION}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_task_imports_nothing_of_this_project_before_its_bundle() -> None:
    # The executor runs the file as a script: an import of ours would hide the bundle's own copy.
    tree = ast.parse(Path(flower_internals.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"flwr", "starlette"}
    assert script("flwr-clientapp")[1] == "-P"  # nor is the file's own folder on Python's path


def test_the_options_that_hub_and_site_pass_exist() -> None:
    hub = read_settings(ROOT / "server/deploy/hub.toml", HubSettings)
    site = read_settings(ROOT / "client/deploy/site.toml", SiteSettings)
    passed = {
        "flower-superlink": superlink_options(hub),
        "flower-supernode": supernode_options(site),
        "flower-superexec": superexec_options(hub) + site_superexec_options(site),
    }
    for program, options in passed.items():
        assert {option for option in options if option.startswith("--")} <= program_options(program)


def test_nothing_is_installed_and_nobody_anonymous_is_let_in() -> None:
    hub = superlink_options(read_settings(ROOT / "server/deploy/hub.toml", HubSettings))
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(hub)
    assert hub[hub.index("--isolation") + 1] == "process"
    assert "--insecure" not in hub
    site = supernode_options(read_settings(ROOT / "client/deploy/site.toml", SiteSettings))
    assert site[site.index("--isolation") + 1] == "process"
    assert not {"--insecure", "--allow-runtime-dependency-installation"} & set(site)


def test_equal_trees_make_equal_bundles_and_one_letter_makes_another(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_app(tmp_path / name, body="x = 1\n" if name != "three" else "x = 2\n")
    one, two, three = (app_bundle_sha256(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one != three
    assert len(bytes.fromhex(one)) == hashlib.sha256().digest_size


def write_app(folder: Path, *, body: str) -> None:
    (folder / "probe").mkdir(parents=True)
    (folder / "probe/__init__.py").write_text(body, encoding="ascii")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "probe"\nversion = "1.0.0"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "tests"\n'
        '[tool.flwr.app.components]\nserverapp = "probe:app"\nclientapp = "probe:app"\n',
        encoding="ascii",
    )
