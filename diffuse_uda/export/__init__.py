"""What is handed over to others: segmentations, models, synthetic pairs; each is read back before it gets its name."""
