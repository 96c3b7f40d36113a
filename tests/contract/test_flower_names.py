"""Flower's private modules move between its minor versions: few files know Flower, and only its public names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = {
    "flwr.app",
    "flwr.clientapp",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
    "flwr.simulation",
}
KNOW_FLOWER = {
    "client/client_app.py",
    "diffuse_uda/exchange/envelopes.py",
    "diffuse_uda/exchange/flower.py",
    "diffuse_uda/exchange/flower_internals.py",
    "server/mail.py",
    "server/server_app.py",
    "simulations/bench_aggregation.py",
    "simulations/bench_sites.py",
    "simulations/engines/in_process.py",
    "simulations/engines/local_grid.py",
    "simulations/transport_model.py",
    "simulations/transport_packed.py",
    "simulations/transport_plain.py",
}
INTERNALS = "diffuse_uda/exchange/flower_internals.py"
"""The one file that may touch what is private; `test_flower_internals.py` pins what it touches."""
PRIVATE = {("simulations/engines/local_grid.py", "flwr.supercore.task_identity")}
"""Flower has no public way to say who makes a message outside of its own processes."""


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return {name for name in names if name.split(".")[0] in {"flwr", "grpc", "ray"}}


def _files() -> dict[str, set[str]]:
    packages = ("diffuse_uda", "client", "server", "simulations")
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): _imports(path) for path in paths}


def test_only_these_files_know_flower() -> None:
    assert {name for name, imported in _files().items() if imported - {"grpc"}} == KNOW_FLOWER


@pytest.mark.parametrize("name", sorted(KNOW_FLOWER - {INTERNALS}))
def test_only_public_names_are_imported(name: str) -> None:
    private = {(name, module) for module in _files()[name] - PUBLIC}
    assert private <= PRIVATE


def test_the_doctor_alone_knows_grpc_and_nobody_ray() -> None:
    assert {name for name, imported in _files().items() if "grpc" in imported} == {"diffuse_uda/doctor/grpc_health.py"}
    assert not [name for name, imported in _files().items() if "ray" in imported]
