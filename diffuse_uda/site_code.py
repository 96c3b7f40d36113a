"""Code of a site, for the verbs that need it: it is in no wheel, because it travels as a Flower app."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

from diffuse_uda.errors import ConfigError


def site_code(name: str) -> ModuleType:
    """Import a module of the checkout.

    Raises:
        ConfigError: If this is no checkout.
    """
    checkout = str(Path(__file__).resolve().parent.parent)
    if checkout not in sys.path:
        sys.path.append(checkout)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {name, name.partition(".")[0]}:
            raise
        msg = f"{name} is not in {checkout}: use the diffuse-uda of a checkout of the project (`make setup`)"
        raise ConfigError(msg) from None
