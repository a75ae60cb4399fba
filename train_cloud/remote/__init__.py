"""Environments on somebody's PC, as Gymnasium and stable-baselines3 know them."""
