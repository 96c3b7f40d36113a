from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from diffuse_uda.deployment.readiness import ca_fingerprint, refuse_failures, server_verdicts
from diffuse_uda.deployment.trial_certificates import Trial, write_trial
from diffuse_uda.doctor.certificates import subject_names
from diffuse_uda.errors import ConfigError

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
TRIAL = Trial(hub_names=("hub.example.org", "192.0.2.10"), site_ids=("leeds", "york"), days=30)


def test_the_hub_can_start_with_what_is_made(tmp_path: Path) -> None:
    write_trial(tmp_path, TRIAL, now=datetime.now(tz=UTC))
    hub = tmp_path / "hub"
    for host in ("hub.example.org", "192.0.2.10", "localhost", "127.0.0.1", "::1"):
        verdicts = server_verdicts(
            hub / "hub.pem", hub / "hub.key", hub / "ca.pem", host=host, now=datetime.now(tz=UTC) + timedelta(days=1)
        )
        assert len(verdicts) == 6
        refuse_failures("the hub", verdicts)


def test_the_certificate_names_the_hub_and_its_days(tmp_path: Path) -> None:
    write_trial(tmp_path, TRIAL, now=NOW)
    certificate = x509.load_pem_x509_certificate((tmp_path / "hub/hub.pem").read_bytes())
    assert subject_names(certificate) == ["hub.example.org", "localhost", "192.0.2.10", "127.0.0.1", "::1"]
    assert certificate.not_valid_after_utc == NOW + timedelta(days=30)
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=10)
    ca = x509.load_pem_x509_certificate((tmp_path / "ca/ca.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )
    assert len(ca_fingerprint(tmp_path / "ca/ca.pem")) == 64 + 31  # hex digits and the colons between pairs


def test_a_site_gets_a_key_that_flower_reads(tmp_path: Path) -> None:
    write_trial(tmp_path, TRIAL, now=NOW)
    folder = tmp_path / "sites/leeds"
    private = load_ssh_private_key((folder / "leeds.key").read_bytes(), None)
    public = load_ssh_public_key((folder / "leeds.pub").read_bytes())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert private.curve.name == "secp384r1"
    assert private.public_key() == public
    assert (folder / "leeds.key").read_bytes() != (tmp_path / "sites/york/york.key").read_bytes()


def test_keys_are_for_their_owner_and_everybody_gets_one_folder(tmp_path: Path) -> None:
    files = write_trial(tmp_path / "new", TRIAL, now=NOW)
    keys = {path.relative_to(tmp_path / "new").as_posix() for path in files if path.suffix == ".key"}
    assert keys == {"ca/ca.key", "hub/hub.key", "sites/leeds/leeds.key", "sites/york/york.key"}
    for path in files:
        assert path.stat().st_mode & 0o777 == (0o600 if path.suffix == ".key" else 0o644)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_trial(tmp_path, TRIAL, now=NOW)
    (tmp_path / "hub/hub.pem").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"holds ca/ca\.key, .* already"):
        write_trial(tmp_path, TRIAL, now=NOW)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("hub_names", "site_ids", "days", "words"),
    [
        ((), ("a",), 30, "at least one --hub-name"),
        (("hub",), (), 30, "at least one --hub-name"),
        (("hub_1",), ("a",), 30, "hub_1"),
        (("*.example.org",), ("a",), 30, "example.org"),
        (("-hub",), ("a",), 30, "-hub"),
        (("hub",), ("../a",), 30, "../a"),
        (("hub",), ("a", "a"), 30, "every site once"),
        (("hub",), ("a",), 0, "1 to 825"),
        (("hub",), ("a",), 826, "1 to 825"),
    ],
)
def test_names_that_mean_nothing_are_refused(
    hub_names: tuple[str, ...], site_ids: tuple[str, ...], days: int, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Trial(hub_names=hub_names, site_ids=site_ids, days=days)
    assert words in str(caught.value)
