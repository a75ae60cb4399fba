"""The operator's commands: what `ac-train` and `make` do with a deployment in AWS."""
