"""Telemetry up, controls down: the car that is watched from elsewhere, or driven from there."""
