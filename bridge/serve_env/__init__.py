"""Environments of this PC that are stepped from the cloud."""
