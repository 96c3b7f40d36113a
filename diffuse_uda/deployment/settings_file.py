"""A TOML file that an administrator writes: keys with hyphens, unknown ones refused, all wrong values named."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from diffuse_uda.doctor.address import parse_address
from diffuse_uda.errors import ConfigError


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Settings(BaseModel):
    """Base of a file's settings; paths in it are relative to the file's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=_kebab)


def _is_address(text: str) -> str:
    try:
        parse_address(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


HostAndPort = Annotated[str, AfterValidator(_is_address)]
"""`hub.example.org:8443` or `[::1]:8443`."""
Port = Annotated[int, Field(ge=1, le=65535)]

_Settings = TypeVar("_Settings", bound=Settings)


def read_settings(path: Path, kind: type[_Settings]) -> _Settings:
    """Read a settings file.

    Args:
        path: The TOML file.
        kind: What it must hold.

    Returns:
        The settings; paths in them are absolute.

    Raises:
        ConfigError: If the file is missing, is no TOML, lacks keys, or holds unknown keys or wrong values.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"cannot read the settings {path}: {error}"
        raise ConfigError(msg) from error
    folder = path.resolve().parent
    for name, field in kind.model_fields.items():
        value = values.get(_kebab(name))
        if isinstance(value, str) and "Path" in str(field.annotation):
            values[_kebab(name)] = str(folder / Path(value).expanduser())
    try:
        # By way of JSON: strict there still takes a text for a path and for a name of a list, but no text for a number.
        return kind.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        known = ", ".join(_kebab(name) for name in kind.model_fields)
        msg = f"the settings {path} cannot be used (known keys: {known}):\n  " + "\n  ".join(map(_line, error.errors()))
        raise ConfigError(msg) from None


def _line(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    place = ".".join(map(str, item["loc"]))
    found = "nothing" if item["type"] == "missing" else repr(item["input"])
    return f"{place}: found {found}; {item['msg']}"
