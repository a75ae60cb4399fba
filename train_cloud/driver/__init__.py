"""The driver in the cloud: telemetry in, control chunks out, and experience of what came of them."""
