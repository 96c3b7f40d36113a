"""Every draw of a study follows from its seed and the name of the place that draws."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *place: str | int) -> int:
    """Hash a study's seed and a place (site, phase, round, ...) to a 63-bit seed.

    Site, phase and round are in the name, so a result depends neither on the order in which sites work nor on the
    engine that runs them, and a resumed round draws what the interrupted one drew.
    """
    text = "\x1f".join([str(seed), *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(seed: int, *place: str | int) -> torch.Generator:
    """A CPU generator for one place; see `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *place))
