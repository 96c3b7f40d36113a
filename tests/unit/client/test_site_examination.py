"""The doctor needs nothing but the site's own settings."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from client.site_examination import examination_of
from diffuse_uda.cli import app
from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.examination import left_out
from diffuse_uda.doctor.hub_verdicts import Expected
from diffuse_uda.exchange.signing import open_key
from diffuse_uda.types import SiteRole

SETTINGS = """
site-id = "leeds"
role = "source"
data-dir = "data"
workspace = "work"
state-dir = "state"
hub = "hub.example.org:8443"
ca = "ca.pem"
fingerprint = "AB"
federation = "brain"
key = "leeds.key"
approved-bundles = "approved.txt"
runtime-port = 7094
health-port = 7095
executor-health-port = 7096
"""


def test_everything_in_the_settings_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SETTINGS, encoding="ascii")
    wanted = examination_of(file, tmp_path / "study.toml")
    assert left_out(wanted) == ()
    assert (wanted.data, wanted.role, wanted.workspace) == (tmp_path / "data", SiteRole.SOURCE, tmp_path / "work")
    assert (wanted.hub, wanted.ca) == (Address(host="hub.example.org", port=8443), tmp_path / "ca.pem")
    assert wanted.expected == Expected(fingerprint="AB", federation="brain")
    assert [address.port for address in wanted.listening] == [7094, 7095, 7096]
    assert wanted.keys == (tmp_path / "leeds.key",)  # the signing key is made at the first start
    open_key(tmp_path / "state" / "signing-key.pem")
    assert examination_of(file, None).keys == (tmp_path / "leeds.key", tmp_path / "state" / "signing-key.pem")
    assert wanted.environment["FLWR_HOME"] == str(tmp_path / "state" / "flower")


def test_settings_that_cannot_be_used_are_told_by_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--site", str(tmp_path / "nowhere.toml")])
    assert result.exit_code != 0
    assert "nowhere.toml" in str(result.exception)
