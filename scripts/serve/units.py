"""The units of a run on a server of one's own, made from those of an instance.

What serves AWS alone is left out: secrets from SSM, notices of EC2, the ends of an instance. Paths become those of this
machine. Promises that what is left names no file of an instance. A system's unit keeps the instance's sandbox and user;
a unit of a user's own manager, which may set up none, runs as that user.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.serve.installed import SAVING, UNITS, USER
from train_cloud.run_folder import files

SOURCES: Final = Path(__file__).resolve().parents[2] / "train_cloud" / "instance" / "units"
COMMON: Final = SOURCES / "ac-.service.d" / "common.conf"
WRITTEN: Final = "# Written by scripts.install_server, which takes it away again with --remove."
ENVIRONMENT: Final = "server.env"
"""In the run's folder, where somebody has made it: variables of receiver and trainer, such as an S3 server's
credentials."""

_OF_INSTANCES: Final = ("ConditionPathExists", "OnFailure", "OnSuccess", "EnvironmentFile", "InaccessiblePaths")
_UNIT: Final = ("Description", "Wants", "After", "StartLimitIntervalSec", "StartLimitBurst")
_SERVICE: Final = (
    *("Type", "Environment", "EnvironmentFile", "ExecStart", "WorkingDirectory", "SyslogIdentifier", "UMask", "Nice"),
    *("MemoryMax", "NoNewPrivileges", "Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStartSec"),
    *("TimeoutStopSec", "WatchdogSec", "KillMode"),
)
_OF_USERS: Final = {"Unit": _UNIT, "Service": _SERVICE, "Install": ("WantedBy",)}
"""What a unit of a user's own manager takes over, by section: no user, no sandbox, no limits above the user's."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a run is to be served: paths are absolute, without spaces; `python` runs the `code`."""

    scope: str
    folder: Path
    code: Path
    python: Path
    dashboard_host: str
    dashboard_port: int
    bucket: Path | None = None
    """The run's data, where they are in a folder."""
    named_certificate: bool = False
    """Whether run.json names an authority's certificate, beside which no own one is made."""


def units_of(server: Server) -> dict[str, str]:
    """Each unit's text by its name."""
    return {name: _unit(server, name, (SOURCES / name).read_text("utf-8")) for name in UNITS}


def _unit(server: Server, unit: str, text: str) -> str:
    common = COMMON.read_text("utf-8").split("[Service]\n")[1]
    # Before the unit's own, which may say otherwise.
    text = text.replace("[Service]\n", f"[Service]\n{common}", 1)
    lines, section = [WRITTEN], ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            lines += ["", line]
            # Nobody else needs them.
            if section == "Service" and unit in SAVING:
                lines.append(f"EnvironmentFile=-{server.folder / ENVIRONMENT}")
        elif line and not line.startswith("#"):
            lines += _here(server, section, *line.split("=", 1))
    return "\n".join(lines) + "\n"


def _here(server: Server, section: str, name: str, value: str) -> Iterator[str]:
    """The line as it is on this server, or nothing."""
    if name in _OF_INSTANCES or (server.scope == USER and name not in _OF_USERS[section]):
        return
    words = [_path_here(server, word) for word in value.split(" ") if not _of_an_instance(server, word)]
    if name == "LoadCredential" and not words:
        return
    if name == "ReadWritePaths" and server.bucket is not None:
        words.append(str(server.bucket))
    if name == "WantedBy" and server.scope == USER:
        words = ["default.target"]
    if words:
        yield f"{name}={' '.join(words)}"


def _of_an_instance(server: Server, word: str) -> bool:
    """Whether a word of a value has no sense here."""
    if word in ("ac-secrets.service", files.RUN) or word.startswith("AWS_METADATA_SERVICE_"):
        return True
    if files.TLS in word:
        return server.named_certificate
    if files.WANDB_KEY in word or word.startswith("AC_TRAINING_WANDB_KEY_FILE="):
        return not (server.folder / files.WANDB_KEY).exists()
    return server.scope == USER and (word == "network-online.target" or word.startswith("HOME="))


def _path_here(server: Server, word: str) -> str:
    """A word of a value with this server's paths."""
    credentials = {
        "AC_DASHBOARD_TOKEN_FILE=%d/token": f"AC_DASHBOARD_TOKEN_FILE={server.folder / files.DASHBOARD_TOKEN}",
        "${CREDENTIALS_DIRECTORY}": str(server.folder),
        "%d": str(server.folder),
    }
    changes = {
        f"{files.OPT}/env/bin/python": str(server.python),
        f"{files.OPT}/code": str(server.code),
        # A secret of the boot there is one of the folder here.
        f":{files.RUN}/": f":{server.folder}/",
        files.VAR: str(server.folder),
        "${AC_TENSORBOARD_HOST}": "127.0.0.1",
        "${AC_DASHBOARD_HOST}": server.dashboard_host,
        "${AC_DASHBOARD_PORT}": str(server.dashboard_port),
        **(credentials if server.scope == USER else {}),
    }
    for there, here in changes.items():
        word = word.replace(there, here)
    return word
