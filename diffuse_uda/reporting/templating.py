"""How pages are made from templates: everything is escaped, and nothing on them loads anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from diffuse_uda.reporting.rows import row_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A script inside a page, and the sum by which the page's security policy lets it run and no other."""

    text: Markup
    policy: str
    """For `script-src`."""


def template_environment() -> Environment:
    """Open the templates; site names, labels and case ids come from other people's files: everything is escaped."""
    environment = Environment(
        loader=PackageLoader("diffuse_uda.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "dice": lambda value: number(value, ".3f"),
        "mm": lambda value: number(value, ".1f"),
        "share": lambda value: number(value, ".0%"),
        "decimals": lambda value, places=2: number(value, f".{places}f"),
        "bytes": bytes_text,
        "duration": duration_text,
        "row_name": row_name,
    }
    environment.filters.update(filters)
    return environment


def page_script(name: str) -> Script:
    """Read a script of the package, such as `site.js`."""
    text = resources.files("diffuse_uda.reporting").joinpath("templates", name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(text=Markup(text), policy=f"'sha256-{digest}'")  # noqa: S704 - our own file


def number(value: float | None, form: str) -> str:
    """Spell a number; a dash where there is none."""
    return "\N{EN DASH}" if value is None else format(value, form).replace("-", "\N{MINUS SIGN}")


def bytes_text(count: int) -> str:
    """Spell a number of bytes."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def duration_text(seconds: float) -> str:
    """Spell seconds as hours, minutes or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
