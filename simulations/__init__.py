"""Whole federations on one machine: cohorts, engines, studies.

This package sits beside `diffuse_uda` because it holds another kind of thing: it makes data and runs experiments,
while the library learns from data. Nothing in `diffuse_uda`, `server` or `client` imports it.

- `simulations.phantom` makes the cohort of the demo: folded brain-like anatomies, scanned by the equations of
  magnetic resonance at centres that use different sequences.
"""
