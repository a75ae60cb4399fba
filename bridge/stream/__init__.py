"""Telemetry up, controls down: what a car does, frame by frame, and control chunks for one that is driven from afar."""
