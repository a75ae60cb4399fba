"""`make generated`: writes every file that is made of declarations in the code.

tests/test_docs.py is red while one of them is stale. `make settings` and `make protocol` write their part of it.
"""

from collections.abc import Callable
from pathlib import Path

from scripts import protocol, settings, terraform_variables, wire_protocol

ROOT = Path(__file__).resolve().parents[1]


def generated() -> dict[Path, Callable[[], str]]:
    """What makes the text of each generated file."""
    files: dict[Path, Callable[[], str]] = {
        wire_protocol.PAGE: wire_protocol.page,
        terraform_variables.PAGE: terraform_variables.page,
    }
    return files | settings.COPIES | {path: lambda text=text: text for path, text in protocol.documents().items()}


def main() -> None:
    """Write them all."""
    for path, text in generated().items():
        path.write_text(text(), encoding="utf-8", newline="\n")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
