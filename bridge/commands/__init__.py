"""The commands of `ac-bridge`, one module each; bridge/cli.py puts them together."""
