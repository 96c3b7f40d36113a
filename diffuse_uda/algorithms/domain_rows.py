"""Rows of the denoiser's domain tables: each belongs to one site, and no other site has anything to say about it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

DOMAIN_TABLES = (
    "class_table.rows",
    "class_table.spreads",
    "class_table.background",
    "class_table.volumes",
    "class_embedding.weight",
)
"""Endings of the names of tensors whose first axis is the domain."""


def owned_rows(average: Tensor, base: Tensor, shares: Sequence[float]) -> Tensor:
    """Give every domain the row its own site trained, instead of that row averaged with everybody's old one.

    Only site d's examples reach row d, so all other sites send it back unchanged, and the average holds
    base + share_d * (row_d - base). Dividing by the share recovers the site's own row; averaging alone would let a
    site with a small share learn its look that much slower.

    Args:
        average: Weighted average of all sites' tensors; the first axis is the domain.
        base: What the sites had received.
        shares: Weight of each domain's site in the average, in the order of the domains; 0 for a site whose update was
            not used: its row stays as it was.

    Returns:
        A new tensor.
    """
    rows = average.clone()
    for domain, share in enumerate(shares):
        if share > 0:
            rows[domain] = base[domain] + (average[domain] - base[domain]) / share
        else:
            rows[domain] = base[domain]
    return rows
