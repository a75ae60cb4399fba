"""Which deployment the operator's tools speak to: Terraform's output `deployment`, or a JSON file of the same content.

Promises a typed description without secrets, and a sentence where there is none. It asks Terraform for what it has
applied and never changes anything; AWS is not asked at all.
"""

import codecs
import shutil
import subprocess
from pathlib import Path

import msgspec

from runtime.exit_codes import ExitCode
from train_cloud.settings import ConfigError, parse_settings

TERRAFORM_FOLDER = Path("terraform")
TERRAFORM_SECONDS = 60.0
_SHOWN = 300
_ELSEWHERE = (
    "On another PC than the one that applied it, take a file along: `terraform -chdir=terraform output -json "
    "deployment > deployment.json` there, then DEPLOYMENT=deployment.json with the command here."
)


class OperatorError(Exception):
    """A command cannot do what it was asked to; the text is a sentence, `code` the exit code."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code


class AppliedDeployment(msgspec.Struct, kw_only=True, frozen=True):
    """What a command needs of what Terraform has made, as its output `deployment` says it; it holds no secrets.

    The run lies under runs/<run_id>/ in the bucket; `schedule` is the scheduled action that ends the `group` (Auto
    Scaling) from outside, `guard_hours` after the start, or earlier where the rest of the budget pays for fewer at
    `guard_usd_per_hour`; `..._parameter` are names of SSM parameters, `log_group` one of CloudWatch Logs; budget_usd is
    for the whole run, hourly_extra_usd for disk and address; total_timesteps are environment steps.
    """

    name: str
    region: str
    bucket: str
    run_id: str
    group: str
    schedule: str
    token_parameter: str
    dashboard_parameter: str
    endpoint_parameter: str
    wandb_parameter: str | None = None
    log_group: str | None = None
    budget_usd: float
    max_hours: float
    guard_hours: float
    guard_usd_per_hour: float
    max_launches: int
    instance_types: list[str]
    volume_gb: int
    hourly_extra_usd: float
    listen_port: int
    dashboard_port: int
    dashboard_open: bool
    total_timesteps: int


def load_deployment(file: Path | None, folder: Path = TERRAFORM_FOLDER) -> AppliedDeployment:
    """The deployment in `file`, or else the one that Terraform has applied in `folder`. Raises OperatorError."""
    text = _terraform_output(folder) if file is None else _read(file)
    try:
        return parse_settings(text, AppliedDeployment, str(file or "Terraform's output `deployment`"))
    except ConfigError as error:
        raise OperatorError(
            f"{error} Run `terraform -chdir=terraform apply` with this version of the project.", ExitCode.USAGE
        ) from error


def _read(file: Path) -> bytes:
    """What `>` wrote, also that of Windows PowerShell, which writes UTF-16, and with a byte order mark; as UTF-8."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise OperatorError(
            f"The deployment file {file} cannot be read ({error.strerror}). {_ELSEWHERE}", ExitCode.USAGE
        ) from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def _terraform_output(folder: Path) -> bytes:
    program = shutil.which("terraform")
    if program is None:
        raise OperatorError(f"Terraform is not installed on this PC (or not on the PATH). {_ELSEWHERE}", ExitCode.USAGE)
    command = [program, f"-chdir={folder}", "output", "-no-color", "-json", "deployment"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TERRAFORM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OperatorError(
            f"Terraform gave no answer within {TERRAFORM_SECONDS:g} s. Is another Terraform command at work?"
        ) from None
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.decode(errors="replace").split())
    if "not found" in said or "No outputs found" in said or not list(folder.glob("*.tf")):
        raise OperatorError(
            f"Nothing is applied in {folder}: Terraform knows no deployment. Run `terraform -chdir=terraform apply` "
            f"first. {_ELSEWHERE} With a lost state file, `make leftovers` lists and ends what AWS still has.",
            ExitCode.USAGE,
        )
    raise OperatorError(f"Terraform could not name the deployment; it said: {said[:_SHOWN] or 'nothing'}")
