"""Loops: fitting, inference, synthesis, checkpoints. Algorithms come in as functions, randomness as a generator."""
