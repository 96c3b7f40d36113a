"""Studies: every row of the ladder, several seeds, every number with its price; resumable."""
