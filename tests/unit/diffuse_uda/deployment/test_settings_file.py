from pathlib import Path

import pytest

from client.site_settings import SiteSettings
from diffuse_uda.deployment.settings_file import read_settings
from diffuse_uda.errors import ConfigError
from server.hub_settings import HubSettings

HUB = 'federation = "brain"\nstate-dir = "state"\ncertificate = "a.pem"\nkey = "/etc/a.key"\nca = "ca.pem"\n'
SITE = (
    'site-id = "leeds"\nrole = "target"\ndata-dir = "data"\nworkspace = "work"\nstate-dir = "state"\n'
    'hub = "hub.example.org:8443"\nca = "ca.pem"\nkey = "leeds.key"\napproved-bundles = "approved.txt"\n'
)


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    hub = read_settings(written(tmp_path, HUB), HubSettings)
    assert hub.certificate == tmp_path / "a.pem"
    assert hub.key == Path("/etc/a.key")
    assert read_settings(written(tmp_path, SITE + 'egress-policy = "e.toml"\n'), SiteSettings).egress_policy == (
        tmp_path / "e.toml"
    )


def test_every_wrong_line_is_named_at_once(tmp_path: Path) -> None:
    text = HUB.replace('ca = "ca.pem"\n', "") + 'control = "everybody"\nlisten = "8443"\nhealth = 8444\nlisten_on = 1\n'
    with pytest.raises(ConfigError) as caught:
        read_settings(written(tmp_path, text), HubSettings)
    said = str(caught.value)
    for part in ("ca: found nothing", "control: found 'everybody'", "listen: found '8443'", "health: found 8444"):
        assert part in said
    assert "listen_on: found 1" in said
    assert "known keys: federation, state-dir" in said


def test_a_name_with_an_underscore_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state_dir"):
        read_settings(written(tmp_path, HUB.replace("state-dir", "state_dir")), HubSettings)


@pytest.mark.parametrize("text", ["federation = ", "\x00"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the settings"):
        read_settings(written(tmp_path, text), HubSettings)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_settings(tmp_path / "nowhere.toml", HubSettings)


@pytest.mark.parametrize("name", ["..", "a/b", "-x", "a b", "a" * 65, "leeds\n"])
def test_a_site_is_called_by_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="site-id"):
        read_settings(written(tmp_path, SITE.replace('"leeds"', repr(name).replace("'", '"'), 1)), SiteSettings)


@pytest.mark.parametrize(("seconds", "fits"), [(59.0, False), (60.0, True), (604800.0, True), (604801.0, False)])
def test_a_site_bears_outages_of_a_minute_to_a_week(tmp_path: Path, seconds: float, *, fits: bool) -> None:
    path = written(tmp_path, SITE + f"outage-patience-s = {seconds}\n")
    if fits:
        assert read_settings(path, SiteSettings).outage_patience_s == seconds
    else:
        with pytest.raises(ConfigError, match="outage-patience-s"):
            read_settings(path, SiteSettings)
