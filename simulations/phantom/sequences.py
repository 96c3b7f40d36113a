"""Signal equations: what a pulse sequence makes of a tissue.

A signal is in units of the equilibrium magnetisation of pure fluid. It keeps its sign, because inverted and upright
magnetisation cancel within a voxel; the magnitude is taken when the image is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, log, radians, sin

from simulations.phantom.relaxation import Relaxation


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoiledGradientEcho:
    """Steady-state gradient echo with spoiling (FLASH, SPGR): Haase et al. 1986 (JMR 67:258)."""

    tr_ms: float
    te_ms: float
    flip_angle_deg: float

    def signal(self, tissue: Relaxation) -> float:
        """Evaluate PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE / T2*), E1 = exp(-TR / T1)."""
        recovery = exp(-self.tr_ms / tissue.t1_ms)
        flip = radians(self.flip_angle_deg)
        steady = sin(flip) * (1.0 - recovery) / (1.0 - cos(flip) * recovery)
        return tissue.proton_density * steady * exp(-self.te_ms / tissue.t2_star_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnetisationPreparedGradientEcho:
    """Inversion, then a train of gradient echoes (MPRAGE): Mugler and Brookeman 1990 (MRM 15:152)."""

    tr_ms: float
    """From one inversion to the next."""
    ti_ms: float
    """From the inversion to the echo in the middle of the train, which sets the contrast."""
    te_ms: float
    flip_angle_deg: float
    echo_spacing_ms: float
    num_echoes: int

    def signal(self, tissue: Relaxation) -> float:
        """Find the steady state of the whole cycle: Deichmann et al. 2000 (NeuroImage 12:112).

        During the train the magnetisation moves to m* = (1 - E) / (1 - q) by a factor q = cos(a) E at each echo,
        E = exp(-echo spacing / T1); before and after, it recovers freely. The signal is that of the middle echo.
        """
        half = 0.5 * self.num_echoes * self.echo_spacing_ms
        before = exp(-(self.ti_ms - half) / tissue.t1_ms)
        after = exp(-(self.tr_ms - self.ti_ms - half) / tissue.t1_ms)
        recovery = exp(-self.echo_spacing_ms / tissue.t1_ms)
        flip = radians(self.flip_angle_deg)
        kept = cos(flip) * recovery
        driven = (1.0 - recovery) / (1.0 - kept)
        train = kept**self.num_echoes
        # One cycle takes m, just before the inversion, to gain * m + offset; in the steady state they are the same.
        gain = -before * train * after
        offset = 1.0 - after + after * (driven + (1.0 - before - driven) * train)
        inverted = -offset / (1.0 - gain)
        start = 1.0 - (1.0 - inverted) * before
        middle = driven + (start - driven) * kept ** (self.num_echoes // 2)
        return tissue.proton_density * sin(flip) * middle * exp(-self.te_ms / tissue.t2_star_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class TurboSpinEcho:
    """Spin echoes in a train (TSE, RARE): Hennig et al. 1986 (MRM 3:823). Long TE: T2w; short TE: PDw."""

    tr_ms: float
    te_ms: float
    """Of the echo that fills the centre of k-space."""

    def signal(self, tissue: Relaxation) -> float:
        """Evaluate PD (1 - exp(-TR / T1)) exp(-TE / T2)."""
        recovered = 1.0 - exp(-self.tr_ms / tissue.t1_ms)
        return tissue.proton_density * recovered * exp(-self.te_ms / tissue.t2_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class InversionRecovery:
    """Inversion before spin echoes; FLAIR when TI nulls the fluid: Hajnal et al. 1992 (JCAT 16:841)."""

    tr_ms: float
    ti_ms: float
    te_ms: float

    def signal(self, tissue: Relaxation) -> float:
        """Evaluate PD (1 - 2 exp(-TI / T1) + exp(-TR / T1)) exp(-TE / T2), for TE far below TR."""
        recovered = 1.0 - 2.0 * exp(-self.ti_ms / tissue.t1_ms) + exp(-self.tr_ms / tissue.t1_ms)
        return tissue.proton_density * recovered * exp(-self.te_ms / tissue.t2_ms)


Sequence = SpoiledGradientEcho | MagnetisationPreparedGradientEcho | TurboSpinEcho | InversionRecovery


def nulling_inversion_time_ms(*, t1_ms: float, tr_ms: float) -> float:
    """Inversion time at which `InversionRecovery` sees nothing of a tissue: T1 ln(2 / (1 + exp(-TR / T1)))."""
    return t1_ms * log(2.0 / (1.0 + exp(-tr_ms / t1_ms)))
