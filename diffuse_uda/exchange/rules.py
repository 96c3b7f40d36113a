"""The words a site says about what went wrong: closed lists, so that no text from anywhere else can pass for a rule."""

from __future__ import annotations

from diffuse_uda.data.rules import RULES

REFUSAL_RULES = frozenset(
    """
    fingerprint foreign-scalar foreign-tensor label-names layer-form message-bytes missing-layer missing-tensor no-count
    no-envelope no-number not-finite order-bytes plan-not-approved replayed-round run-bytes run-name
    site-dtype site-id site-model site-scalar site-task small-group style-block style-block-size tensor-form
    too-many-digits too-many-scalars unknown-layer unknown-phase unknown-run weights-not-finite weights-too-large
    wrong-labels wrong-plan wrong-sites wrong-task wrong-version
    """.split()  # noqa: SIM905 - a page of words is easier to read than a page of quotes
)
"""What can be wrong with an order or a reply."""

INPUT_RULES = frozenset(RULES)
"""What can be wrong with a centre's folder; the intake gate's words."""
