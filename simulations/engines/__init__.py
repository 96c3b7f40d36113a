"""Ways to run one and the same federation on one machine."""
