"""The pairing string: taken once, kept for later calls."""
