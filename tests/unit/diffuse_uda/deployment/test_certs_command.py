from pathlib import Path

from typer.testing import CliRunner

from diffuse_uda.cli import app
from diffuse_uda.errors import ConfigError


def test_a_trial_is_made_once(tmp_path: Path) -> None:
    arguments = ["certs", str(tmp_path / "trial"), "--hub-name", "hub.example.org", "--site", "leeds", "--site", "york"]
    made = CliRunner().invoke(app, arguments)
    assert made.exit_code == 0, made.output
    assert len([line for line in made.output.splitlines() if line.startswith(str(tmp_path))]) == 11
    assert isinstance(CliRunner().invoke(app, arguments).exception, ConfigError)


def test_names_are_needed(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["certs", str(tmp_path / "trial")]).exit_code == 2
