"""Every system as data: its phases, who does what in each, and what is exchanged. Nothing here trains."""

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import ConfigError
from diffuse_uda.methods import asc, asc_plus, diffuse_uda, le_uda, plan, shipped, source_only
from diffuse_uda.methods.phase import Method, for_targets

_BUILDERS = {
    "source-only": source_only.build,
    "shipped-and-adapted": shipped.build,
    "asc": asc.build,
    "asc-plus": asc_plus.build,
    "diffuse-uda": diffuse_uda.build,
    "le-uda": le_uda.build,
    "plan": plan.build,
}


def build_method(config: StudyConfig, *, num_targets: int | None = None) -> Method:
    """Look up the declaration that `config.method` names.

    Args:
        config: The study.
        num_targets: Targets that take part, to write out the phases that each of them has for itself; None where only
            the declaration is wanted.

    Raises:
        ConfigError: If no method has that name.
    """
    if config.method not in _BUILDERS:
        msg = f"unknown method {config.method!r}; known: {sorted(_BUILDERS)}"
        raise ConfigError(msg)
    method = _BUILDERS[config.method](config)
    return method if num_targets is None else for_targets(method, num_targets)
