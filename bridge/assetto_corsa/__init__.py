"""Assetto Corsa as a car to drive: its shared memory, its controls, its tracks."""
