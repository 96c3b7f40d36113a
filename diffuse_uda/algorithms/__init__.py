"""The mathematics of the methods: pure functions on tensors, no files, no network, no framework."""
