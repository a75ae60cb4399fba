"""`python -m scripts.cloud`: the same as the command `ac-train`."""

from scripts.cloud.cli import main

if __name__ == "__main__":
    main()
