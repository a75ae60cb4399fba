"""`python -m bridge`: the same as the command `ac-bridge`."""

from bridge.cli import main

main()
