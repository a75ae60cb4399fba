"""`python -m scripts.terraform_variables`: writes docs/terraform-variables.md from what terraform/ declares.

The variables and outputs say what they mean in their own descriptions; this only makes two tables of them. A test is
red while the page is stale.
"""

import json
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "terraform-variables.md"
_OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False)
_HEAD = """# Terraform variables and outputs

Written by `make generated` from `terraform/variables.tf` and `terraform/outputs.tf`: change those.

Set them in `terraform/terraform.tfvars`; `terraform/terraform.tfvars.example` has a line for each. A wrong value is
refused by `terraform apply` before anything is made, with a sentence that says what to write. [cloud.md](cloud.md) says
which of them may change while an instance runs.

"""


def declared(file: str, block: str) -> list[tuple[str, dict[str, Any]]]:
    """The blocks of one kind in a file of terraform/, in their order: name and arguments."""
    with (ROOT / "terraform" / file).open(encoding="utf-8") as text:
        read = hcl2.load(text, serialization_options=_OPTIONS)
    return [(name, body) for one in read[block] for name, body in one.items()]


def _cell(text: str) -> str:
    return text.replace('\\"', '"').replace("|", "\\|").replace("<", "&lt;")


def _default(variable: dict[str, Any]) -> str:
    return f"`{json.dumps(variable['default'])}`" if "default" in variable else "required"


def _row(*cells: str) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |\n"


def page() -> str:
    """The text of docs/terraform-variables.md."""
    text = _HEAD + "| variable | type | default | what it means |\n|---|---|---|---|\n"
    for name, variable in declared("variables.tf", "variable"):
        kind = str(variable["type"]).removeprefix("${").removesuffix("}")
        kind += ", secret" if variable.get("sensitive") else ""
        text += _row(f"`{name}`", kind, _default(variable), variable["description"])
    text += "\nWhat `terraform -chdir=terraform output` shows:\n\n| output | what it says |\n|---|---|\n"
    for name, output in declared("outputs.tf", "output"):
        text += _row(f"`{name}`", output["description"])
    return text


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
