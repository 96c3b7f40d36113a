"""What a hospital's own people do with segmentations: look at them, worst first, and say which are good enough."""
