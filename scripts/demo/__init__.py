"""The whole system on one machine, until the car laps."""
