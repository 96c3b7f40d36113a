"""What a centre runs."""
