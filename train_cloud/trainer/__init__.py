"""Learns from the experience in the store."""
