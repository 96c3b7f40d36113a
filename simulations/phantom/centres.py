"""Which scanner stands at which site, and whom it scanned."""

from __future__ import annotations

from dataclasses import dataclass

from diffuse_uda.errors import ConfigError
from diffuse_uda.types import SiteRole
from simulations.phantom.physics import Scanner
from simulations.phantom.relaxation import RELAXATION, FieldStrength
from simulations.phantom.sequences import (
    InversionRecovery,
    MagnetisationPreparedGradientEcho,
    TurboSpinEcho,
    nulling_inversion_time_ms,
)
from simulations.phantom.structures import Tissue


@dataclass(frozen=True, kw_only=True, slots=True)
class CentreRecipe:
    """One site of a simulated federation."""

    site_id: str
    """Name of the site and of its folder; its people depend on it and on the seed, not on other sites."""
    role: SiteRole
    channel_name: str
    """What the images show, as `dataset.json` names it: T1w, T2w, FLAIR, PDw."""
    scanner: Scanner
    num_train: int
    """Scans for training: labelled at the source; at a target the labels are kept aside for the reference."""
    num_test: int
    """Labelled scans for the final table."""
    num_development: int = 0
    """Labelled scans for choices made while developing, so that the test scans stay untouched."""

    def __post_init__(self) -> None:
        """Refuse names that aren't folders, and empty sites."""
        if not self.site_id or not set(self.site_id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_"):
            msg = f"site_id {self.site_id!r} is no folder name: wanted lower-case letters, digits, '-' and '_'"
            raise ConfigError(msg)
        if self.num_train < 1 or self.num_test < 0 or self.num_development < 0:
            msg = (
                f"site {self.site_id} has {self.num_train} training, {self.num_development} development and "
                f"{self.num_test} test scans: wanted at least 1, 0 and 0"
            )
            raise ConfigError(msg)


SOURCE_T1W = CentreRecipe(
    site_id="source-t1w",
    role=SiteRole.SOURCE,
    channel_name="T1w",
    scanner=Scanner(
        sequence=MagnetisationPreparedGradientEcho(
            tr_ms=2300.0, ti_ms=900.0, te_ms=3.0, flip_angle_deg=9.0, echo_spacing_ms=7.0, num_echoes=160
        ),
        field=FieldStrength.TESLA_3,
        psf_fwhm_mm=(3.0, 3.0, 3.0),
        bias_strength=0.12,
        snr=30.0,
    ),
    num_train=24,
    num_test=6,
)

TARGET_T2W = CentreRecipe(
    site_id="target-t2w",
    role=SiteRole.TARGET,
    channel_name="T2w",
    scanner=Scanner(
        sequence=TurboSpinEcho(tr_ms=4500.0, te_ms=100.0),
        field=FieldStrength.TESLA_1_5,
        psf_fwhm_mm=(3.5, 3.5, 6.0),
        bias_strength=0.07,
        snr=18.0,
        gain=400.0,
    ),
    num_train=12,
    num_test=6,
    num_development=2,
)

TARGET_FLAIR = CentreRecipe(
    site_id="target-flair",
    role=SiteRole.TARGET,
    channel_name="FLAIR",
    scanner=Scanner(
        sequence=InversionRecovery(
            tr_ms=9000.0,
            ti_ms=nulling_inversion_time_ms(t1_ms=RELAXATION[FieldStrength.TESLA_1_5][Tissue.CSF].t1_ms, tr_ms=9000.0),
            te_ms=110.0,
        ),
        field=FieldStrength.TESLA_1_5,
        psf_fwhm_mm=(3.5, 3.5, 7.0),
        bias_strength=0.1,
        snr=18.0,
        gain=250.0,
    ),
    num_train=12,
    num_test=6,
    num_development=2,
)

TARGET_PDW = CentreRecipe(
    site_id="target-pdw",
    role=SiteRole.TARGET,
    channel_name="PDw",
    scanner=Scanner(
        sequence=TurboSpinEcho(tr_ms=3500.0, te_ms=15.0),
        field=FieldStrength.TESLA_1_5,
        psf_fwhm_mm=(3.5, 3.5, 6.0),
        bias_strength=0.12,
        snr=22.0,
    ),
    num_train=12,
    num_test=6,
    num_development=2,
)

DEFAULT_CENTRES: tuple[CentreRecipe, ...] = (SOURCE_T1W, TARGET_T2W, TARGET_FLAIR)
"""The demo's federation: a labelled T1w source, and two targets that are a change of sequence away."""
