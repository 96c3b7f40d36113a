"""What crosses the wall of a site: orders in, weights and a few scalars out."""
