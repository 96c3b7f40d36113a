"""Who takes part: one source, some targets, a name for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from diffuse_uda.data.broken_rule import BrokenRuleError
from diffuse_uda.errors import InputError
from diffuse_uda.types import SiteRole


def check_federation(sites: Sequence[tuple[str, SiteRole]]) -> None:
    """Check who takes part.

    Args:
        sites: Name and role of every site.

    Raises:
        InputError: Unless there is exactly one source, at least one target, and every name occurs once.
    """
    broken: list[tuple[str, BrokenRuleError]] = []
    sources = [name for name, role in sites if role is SiteRole.SOURCE]
    targets = [name for name, role in sites if role is SiteRole.TARGET]
    if not sources:
        broken.append(("-", BrokenRuleError("no-source", found="no source")))
    if len(sources) > 1:
        found = f"{len(sources)} sources: {', '.join(sources)}"
        broken.append((sources[1], BrokenRuleError("several-sources", found=found)))
    if not targets:
        broken.append(("-", BrokenRuleError("no-targets", found="no target")))
    for name, count in Counter(name.casefold() for name, _ in sites).items():
        if count > 1:
            found = f"{count} sites named {name!r} (upper and lower case count as the same)"
            broken.append((name, BrokenRuleError("repeated-site-name", found=found)))
    if broken:
        raise InputError([rule.at(centre=site) for site, rule in broken])
