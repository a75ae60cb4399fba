"""The loop that drives a car by the newest policy and records what came of it."""
