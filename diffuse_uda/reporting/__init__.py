"""What a run brought, for people: the stable results file, figures, and one self-contained page."""
