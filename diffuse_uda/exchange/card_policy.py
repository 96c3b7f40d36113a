"""What a site may say about itself: who it is, how much data it has; a look only if all agree, and never an image."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import RefusalError
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.site_policy import NOTHING_NARROWED, SitePolicy

REFUSED = "not allowed to leave the site"
MAX_STYLE_SHARE = 0.05
"""Most values a style block may have, as a share of one patch's voxels: a block is a look, never an image."""

MAX_LABELS = 256
MAX_COUNT = 1_000_000
"""Most cases or pairs that a site speaks of."""
_SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/()-]{0,63}")


def check_card(
    card: SiteCard, config: StudyConfig, *, site_allows_style: bool, site: SitePolicy = NOTHING_NARROWED
) -> None:
    """Refuse an introduction that says more than who the site is and how much data it has.

    Raises:
        RefusalError: Naming the fields that may not leave, never their values.
    """
    broken = []
    if not is_site_id(card.site_id):
        broken.append(("site-id", "site-id is no short identifier (letters, digits, '.', '_', '-')"))
    if len(card.label_names) > MAX_LABELS or not all(map(is_label_name, card.label_names)):
        broken.append(("label-names", f"label-names are not at most {MAX_LABELS} short names"))
    if not all(map(is_count, (card.num_cases, card.num_test_cases))):
        broken.append(("no-count", "num-cases or num-test-cases is no count"))
    if card.style_block is not None:
        broken += _style_problems(card, card.style_block, config, site, site_allows_style=site_allows_style)
    if card.fingerprint is not None:
        broken += _fingerprint_problems(card, config, site)
    if broken:
        raise RefusalError(REFUSED, broken)


def _fingerprint_problems(card: SiteCard, config: StudyConfig, site: SitePolicy) -> Iterator[tuple[str, str]]:
    if not config.exchange.allow_fingerprints or site.allow_fingerprints is False:
        yield "fingerprint", "fingerprint: study and site must both allow it"
    if is_count(card.num_cases) and card.num_cases < fewest_cases(config, site):
        yield "small-group", f"a fingerprint over fewer than {fewest_cases(config, site)} cases"


def fewest_cases(config: StudyConfig, site: SitePolicy) -> int:
    """Cases that statistics have to be over if they leave the site."""
    return max(config.exchange.min_cases_for_statistics, site.min_cases_for_statistics or 0)


def _style_problems(
    card: SiteCard, block: Tensor, config: StudyConfig, site: SitePolicy, *, site_allows_style: bool
) -> Iterator[tuple[str, str]]:
    limit = int(math.prod(config.grid.patch_size) * MAX_STYLE_SHARE)
    min_cases = fewest_cases(config, site)
    if not (config.exchange.allow_style_blocks and site_allows_style and site.allow_style_blocks is not False):
        yield "style-block", "style-block: study and site must both allow it"
    if not block.is_floating_point() or not bool(torch.isfinite(block).all()):
        yield "not-finite", "style-block has values that are not finite"
    if block.numel() > limit:
        yield "style-block-size", f"style-block has {block.numel()} values, allowed are {limit}"
    if is_count(card.num_cases) and card.num_cases < min_cases:
        yield "small-group", f"style-block over fewer than {min_cases} cases"


def is_site_id(text: str) -> bool:
    """Whether a text may name a site, and hence a folder: a short identifier."""
    return _SITE_ID.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    """Whether a text may name a class."""
    return _LABEL_NAME.fullmatch(text) is not None


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 0 that can be meant: one of 63 bits could say anything."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
