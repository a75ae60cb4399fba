"""Telemetry up: what a car does, frame by frame, whoever drives it; nothing is sent to the car."""
