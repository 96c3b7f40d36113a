"""The hospital's own word on what may leave: a TOML file outside the code that travels. It can narrow, never widen."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffuse_uda.errors import ConfigError
from diffuse_uda.methods.phase import Task
from diffuse_uda.types import ModelName

Limit = Annotated[int, Field(gt=0)]
PlanHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DtypeName = Literal["float16", "bfloat16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64"]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class SitePolicy(BaseModel):
    """What one hospital lets out at most. A key that is absent leaves the matter to the study."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=_kebab, populate_by_name=True)

    max_message_bytes: Limit | None = None
    """Largest message, in bytes."""
    max_run_bytes: Limit | None = None
    """All messages of one run together, in bytes."""
    max_scalars: Limit | None = None
    """Most scalars in one message."""
    min_cases_for_statistics: Limit | None = None
    """Statistics over fewer cases than this stay."""
    allow_style_blocks: bool | None = None
    allow_fingerprints: bool | None = None
    scalars: frozenset[str] | None = None
    """Names of scalars that may leave; `dice/*` stands for `dice/` and every label. Others are left out."""
    dtypes: frozenset[DtypeName] | None = None
    """Dtypes of tensors that may leave."""
    models: frozenset[ModelName] | None = None
    """Networks whose weights may leave: `segmenter`, `denoiser`."""
    tasks: frozenset[Task] | None = None
    """Tasks that are carried out."""
    plans: frozenset[PlanHash] | None = None
    """Studies that the hospital approved, by `diffuse-uda config --study FILE --hash`."""

    def allows_scalar(self, key: str) -> bool:
        """Whether a scalar that the study lists may leave."""
        name, slash, _ = key.partition("/")
        return self.scalars is None or key in self.scalars or (bool(slash) and f"{name}/*" in self.scalars)


NOTHING_NARROWED = SitePolicy()
"""The policy of a site that has no file of its own: the study's."""


def read_site_policy(path: Path | None) -> SitePolicy:
    """Read a site's policy; without a file, the study's word is enough.

    Raises:
        ConfigError: If the file is missing, is no TOML, or holds unknown keys or wrong values: nothing leaves then.
    """
    if path is None:
        return NOTHING_NARROWED
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"cannot read the site's egress policy {path}: {error}"
        raise ConfigError(msg) from error
    return _validated(values, path)


def _validated(values: Mapping[str, Any], path: Path) -> SitePolicy:
    if spelt := sorted(key for key in values if "_" in key):
        msg = f"the site's egress policy {path}: unknown keys {spelt}; keys are written with hyphens"
        raise ConfigError(msg)
    try:
        # By way of JSON: its strict rules take a list for a set and a text for a name, but no text for a number.
        return SitePolicy.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc']))}: found {item['input']!r}; {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        known = ", ".join(map(_kebab, SitePolicy.model_fields))
        msg = f"the site's egress policy {path} cannot be used (known keys: {known}):\n  " + "\n  ".join(lines)
        raise ConfigError(msg) from None
