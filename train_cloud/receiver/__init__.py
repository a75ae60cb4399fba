"""Receives experience and hands out weights."""
