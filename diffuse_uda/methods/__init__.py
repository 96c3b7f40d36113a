"""Every system as data: its phases, who does what in each, and what is exchanged. Nothing here trains."""

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.methods import asc, asc_plus, diffuse_uda, source_only
from diffuse_uda.methods.phase import Method

_BUILDERS = {
    "source-only": source_only.build,
    "asc": asc.build,
    "asc-plus": asc_plus.build,
    "diffuse-uda": diffuse_uda.build,
}


def build_method(config: StudyConfig) -> Method:
    """Look up the declaration that `config.method` names.

    Raises:
        ConfigError: If no method has that name.
    """
    if config.method not in _BUILDERS:
        msg = f"unknown method {config.method!r}; known: {sorted(_BUILDERS)}"
        raise ConfigError(msg)
    return _BUILDERS[config.method](config)
