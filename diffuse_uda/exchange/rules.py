"""The words a site says about what went wrong: closed lists, so that no text from anywhere else can pass for a rule."""

from __future__ import annotations

REFUSAL_RULES = frozenset(
    """
    foreign-scalar foreign-tensor label-names layer-form message-bytes missing-layer missing-tensor no-count
    no-envelope no-number not-finite order-bytes plan-not-approved replayed-round run-bytes run-name
    site-dtype site-id site-model site-scalar site-task small-group style-block style-block-size tensor-form
    too-many-digits too-many-scalars unknown-layer unknown-phase unknown-run weights-not-finite weights-too-large
    wrong-labels wrong-plan wrong-sites wrong-task wrong-version
    """.split()  # noqa: SIM905 - a page of words is easier to read than a page of quotes
)
"""What can be wrong with an order or a reply."""

INPUT_RULES = frozenset(
    """
    absurd-size anisotropic-voxels bad-affine bad-pixdim case-in-two-parts case-name channel-suffix
    class-absent constant-image damaged-gzip empty-file empty-label-map grids-differ image-without-label-map
    invalid-dataset-json label-map-is-an-image label-map-without-image label-maps-differ label-outside-map
    labels-not-consecutive link-leads-nowhere link-leaves-folder missing-file missing-folder negative-label
    no-affine no-cases no-labels-at-source no-source no-targets non-finite-voxels non-integer-labels not-3d
    not-a-file not-millimetres path-traversal pointer-file prepared-cache repeated-case-name repeated-image
    repeated-site-name rgb-voxels scaling-not-finite several-channels several-sources sform-qform-disagree
    sheared-affine singular-affine target-has-training-labels trailing-data truncated-file unexpected-file
    unknown-evaluation-case unreadable-file unsupported-format voxel-type wrong-ending wrong-magic
    wrong-num-training wrong-offset zero-dimension
    """.split()  # noqa: SIM905
)
"""What can be wrong with a centre's folder; the intake gate's words."""
