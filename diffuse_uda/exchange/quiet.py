"""Flower's and Ray's calls home, switched off: import this module before `flwr`.

`python -m diffuse_uda.exchange.quiet` prints the same settings as shell exports, for programs that Flower starts
by itself (`flower-superlink` decides on installing packages before any code of ours runs).
"""

from __future__ import annotations

import os
import shlex
from types import MappingProxyType

QUIET_ENVIRONMENT = MappingProxyType(
    {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Otherwise every run installs the app's dependencies anew, from the internet.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray warns on every start that it will stop hiding GPUs from tasks that ask for none; CPU tasks do not care.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
)

FOUND_ENVIRONMENT = MappingProxyType({name: os.environ.get(name) for name in QUIET_ENVIRONMENT})
"""What the environment said before this module; None for what it did not say. The doctor reports it."""

for _name, _value in QUIET_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

if __name__ == "__main__":
    for _name, _value in QUIET_ENVIRONMENT.items():
        print(f"export {_name}={shlex.quote(_value)}")  # noqa: T201 - this is the output of a command
