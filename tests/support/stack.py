"""The project's own Terraform, applied to a server that stands in for AWS (tests/support/aws_server.py).

    stack = Stack(tmp_path / "stack", server.endpoint_url, run_id="lap-1", budget_usd=5)
    stack.apply()                          # about 10 s; again after stack.variables.update(...) or stack.write(...)
    stack.output("deployment")["bucket"]
    stack.destroy()

It works on a copy of what the configuration reads, so that a test may change a script, and adds one override file: few
retries, and no lifecycle configuration, whose waiter takes a minute (terraform/tests covers that resource). The
provider comes from where Terraform's own settings say (TF_CLI_ARGS_init, TF_CLI_CONFIG_FILE). A test that uses it has
the marker `terraform`. Every variable but home_cidrs has the default of the configuration.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.aws_server import environment
from tests.support.tools import missing, need_tools

ROOT = Path(__file__).parents[2]
PARTS = ("runtime", "racing", "wire", "experience", "train_cloud", "terraform", "pyproject.toml", "constraints.txt")
HOME = "8.8.8.8/32"
TERRAFORM_SECONDS = 900
OVERRIDE = """
provider "aws" {
  max_retries = 2
}

resource "aws_s3_bucket_lifecycle_configuration" "run" {
  count = 0
}
"""


class Stack:
    """One deployment: a folder with the configuration and its state, at one endpoint."""

    def __init__(self, folder: Path, endpoint_url: str, **variables: Any) -> None:
        """Copy the configuration to `folder` and initialise it; skips (under CI=true: fails) without Terraform."""
        self.folder = folder
        self.variables: dict[str, Any] = {"home_cidrs": [HOME], **variables}
        self._environment = terraform_environment() | environment(endpoint_url)
        copy_project(folder)
        (folder / "terraform" / "test_override.tf").write_text(OVERRIDE, encoding="utf-8")
        initialise(folder, self._environment)

    @property
    def state(self) -> Path:
        """The state file."""
        return self.folder / "terraform" / "terraform.tfstate"

    def write(self, path: str, text: str) -> None:
        """Change a file of the copied project, such as "train_cloud/instance/boot.sh"."""
        (self.folder / path).write_text(text, encoding="utf-8")

    def apply(self) -> str:
        """Make it so; what Terraform said. AssertionError with its words when it fails."""
        return self._run("apply", "-auto-approve", "-input=false", "-parallelism=20")

    def plan(self) -> str:
        """What an apply would change, in Terraform's words; empty when it would change nothing."""
        done = self._terraform("plan", "-detailed-exitcode", "-input=false", "-parallelism=20")
        assert done.returncode in (0, 2), done.stdout + done.stderr
        return done.stdout if done.returncode == 2 else ""

    def output(self, name: str) -> Any:
        """The value of one output."""
        return self.outputs()[name]

    def outputs(self) -> dict[str, Any]:
        """Every output's value by its name."""
        return {name: entry["value"] for name, entry in json.loads(self._run("output", "-json")).items()}

    def destroy(self) -> str:
        """Take everything away; what Terraform said."""
        return self._run("destroy", "-auto-approve", "-input=false", "-refresh=false", "-parallelism=20")

    def _run(self, *arguments: str) -> str:
        done = self._terraform(*arguments)
        assert done.returncode == 0, f"terraform {arguments[0]} failed:\n{done.stdout[-4000:]}{done.stderr}"
        return done.stdout

    def _terraform(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = self.folder / "terraform" / "test.auto.tfvars.json"
        variables.write_text(json.dumps(self.variables), encoding="utf-8")
        return terraform(self.folder, self._environment, *arguments)


def copy_project(folder: Path) -> None:
    """Copy what the configuration reads into `folder`, without state, caches or a user's own variables."""
    left_out = shutil.ignore_patterns("__pycache__", ".terraform*", "*.tfstate*", "terraform.tfvars")
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=left_out)
        else:
            shutil.copy(source, folder / part)


def initialise(folder: Path, env: dict[str, str]) -> None:
    """`terraform init` of the configuration in `folder`; skips (under CI=true: fails) where there is no provider."""
    need_tools("terraform")
    done = terraform(folder, env, "init", "-input=false", "-backend=false")
    if done.returncode != 0 and any(word in done.stderr for word in ("provider registry", "query available provider")):
        missing("needs the AWS provider; set TF_CLI_ARGS_init=-plugin-dir=... where the registry is out of reach")
    assert done.returncode == 0, done.stdout + done.stderr


def terraform(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `terraform` in the configuration of `folder`; it may fail, see the return code."""
    return subprocess.run(
        ["terraform", f"-chdir={folder / 'terraform'}", *arguments, "-no-color"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=TERRAFORM_SECONDS,
    )


def terraform_environment() -> dict[str, str]:
    """This process's environment without what would lead Terraform to the user's own account or variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
    return kept | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
