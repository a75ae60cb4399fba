"""`python -m scripts.install_server`: a run on this machine as services of systemd, which start with the machine.

They are an instance's units without what is AWS's, run by a user of their own (`--user`: by yourself, without root).
Prints the pairing string at the end. A second call takes over new settings; `--remove` takes the services away and
leaves the run's folder as it is. The code stays where it is: move or delete it only after `--remove`.
"""

import getpass
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from runtime.exit_codes import ExitCode
from runtime.files import write_private
from scripts.processes.folder import UnusableFolder
from scripts.serve.__main__ import check_ports, page_address
from scripts.serve.folder import FOLDER, held, prepare
from scripts.serve.installed import INSTALLED, SYSTEM, UNITS, USER, stop_units, systemctl
from scripts.serve.pairing import print_link_here, print_pairing
from scripts.serve.units import ENVIRONMENT, WRITTEN, Server, units_of
from train_cloud.run_config import ConfigError, RunConfig
from train_cloud.run_folder import files
from wire.pairing import is_loopback

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT = "ac-training"
"""The user, and group, that the units name."""
OUT_OF_SIGHT = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""What the services' sandbox does not see."""
START_SECONDS = 300.0
"""Longest time for the receiver's start; it restores what is in the bucket."""


class InstallError(Exception):
    """The services cannot be installed or removed; the text is a sentence."""


def install_server(
    user: Annotated[bool, typer.Option("--user", help="services of your own user, without root")] = False,
    run: Annotated[Path | None, typer.Option(help="run.json of a run of your own; default: as make serve")] = None,
    folder: Annotated[
        Path | None, typer.Option(help=f"what holds everything of the run; default: {files.VAR}, with --user {FOLDER}")
    ] = None,
    host: Annotated[str | None, typer.Option(help="name or address by which PCs reach this machine")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_534, help="of the receiver; default: 8765")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="take the services away; the run's folder stays")] = False,
) -> None:
    """Install the services of a run on this machine, start them, and print the pairing string."""
    scope = USER if user else SYSTEM
    named, usual = folder and folder.resolve(), (FOLDER if user else Path(files.VAR)).resolve()
    try:
        check_system(scope)
        if remove:
            take_away(scope, named or served_by(unit_folder(scope)) or usual)
        else:
            install(scope, named or usual, run, host, port)
        code = ExitCode.OK
    except ConfigError as error:
        print(error, file=sys.stderr)
        code = ExitCode.USAGE
    except UnusableFolder as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except InstallError as error:
        print(error, file=sys.stderr)
        code = ExitCode.FAILED
    except OSError as error:
        print(f"The services cannot be installed: {error}.", file=sys.stderr)
        code = ExitCode.FAILED
    raise typer.Exit(int(code))


def check_system(scope: str) -> None:
    """Raise InstallError where there is no systemd, or no right to ask it."""
    try:
        done = systemctl(scope, "show", "--property=Version")
    except OSError:
        done = None
    if done is None or done.returncode != 0:
        raise InstallError(
            "systemd does not answer here, so that it can run no services. `make serve` needs none."
            if scope == SYSTEM
            else "Your user's systemd does not answer here. Log in as "
            "that user (not by su or sudo), or install for the whole system, without --user; `make serve` needs none."
        )
    if scope == SYSTEM and os.geteuid() != 0:
        raise InstallError(
            "Services of the whole system are root's to install: put sudo before the command, or install them for "
            "yourself alone with --user."
        )


def install(scope: str, folder: Path, run: Path | None, host: str | None, port: int | None) -> None:
    """Write settings, token and units, start them, and tell how it goes on. Raises what the command tells in words."""
    units = unit_folder(scope)
    refuse_others_units(units)
    refuse_another_run(units, folder)
    refuse_what_no_unit_can_name(scope, folder)

    def check(config: RunConfig) -> None:
        if config.bucket.folder is not None:
            refuse_what_no_unit_can_name(scope, folder, Path(config.bucket.folder))
        check_ports(config)

    if (folder / INSTALLED).exists():
        stop_units(folder)
    with held(folder):
        config = prepare(folder, run, host, port, check)
        server = server_of(scope, folder, config)
        if scope == SYSTEM:
            hand_over(folder)
            if server.bucket is not None and not server.bucket.exists():
                server.bucket.mkdir(mode=0o750)
                hand_over(server.bucket)
    # The page's process may write nothing into the folder.
    url = f"https://{named(config)}:{server.dashboard_port}/"
    write_private(folder / files.DASHBOARD_URL, url.encode())
    units.mkdir(parents=True, exist_ok=True)
    for name, text in units_of(server).items():
        (units / name).write_text(text, encoding="utf-8")
    # Only now: a folder that says so must have units, which --remove takes away.
    write_private(folder / INSTALLED, f"{scope}\n".encode(), mode=0o640)
    start(scope, folder)
    tell(scope, folder)


def unit_folder(scope: str) -> Path:
    """Where units of an administrator, or of the user, belong."""
    if scope == SYSTEM:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def refuse_others_units(units: Path) -> None:
    """Raise InstallError where a unit of ours would take the place of somebody else's."""
    for name in UNITS:
        if (units / name).exists() and not (units / name).read_text("utf-8").startswith(WRITTEN):
            raise InstallError(
                f"{units / name} was not written by this command; an instance in the cloud has such a one. It is left "
                "as it is, and nothing is installed here."
            )


def served_by(units: Path) -> Path | None:
    """The folder of the run whose services are there; None without any."""
    for name in UNITS:
        if (units / name).exists() and (found := re.search(r" --folder (\S+)", (units / name).read_text("utf-8"))):
            return Path(found[1])
    return None


def refuse_another_run(units: Path, folder: Path) -> None:
    """Raise InstallError where the services there are those of a run in another folder."""
    if (other := served_by(units)) not in (None, folder):
        raise InstallError(
            f"The services in {units} are those of the run in {other}, and there is one set of them. Nothing is "
            f"changed. --remove with --folder {other} takes them away (the run stays); `make serve` serves a second "
            "run beside them."
        )


def refuse_what_no_unit_can_name(scope: str, folder: Path, data: Path | None = None) -> None:
    """Raise InstallError for paths that units cannot hold, or that the services' sandbox hides."""
    python = Path(sys.executable)
    paths = [("run's folder", folder), ("code", ROOT), ("Python", python), ("Python", python.resolve())]
    for what, path in [*paths, *([("run's bucket.folder", data)] if data else [])]:
        if any(sign.isspace() or sign in "%\"'\\$:" for sign in str(path)):
            raise InstallError(f"The path {path} of the {what} has a sign that units take for another: name it anew.")
        if scope == SYSTEM and any(path.is_relative_to(hidden) for hidden in OUT_OF_SIGHT):
            raise InstallError(
                f"The {what} {path} is in a place that services do not see ({', '.join(OUT_OF_SIGHT)}). Put the "
                "project into /opt (`git clone … /opt/ac-training`, then `make setup PYTHON=/usr/bin/python3` there) "
                "and the run's folder and data elsewhere, too, or install for yourself alone with --user."
            )


def server_of(scope: str, folder: Path, config: RunConfig) -> Server:
    """What the units are made of."""
    bucket = Path(config.bucket.folder) if config.bucket.folder else None
    named = config.tls_certificate is not None
    return Server(scope, folder, ROOT, Path(sys.executable), *page_address(config), bucket, named)


def named(config: RunConfig) -> str:
    """How a browser names this machine."""
    host = config.listen_host if is_loopback(config.listen_host) else config.public_host
    return f"[{host}]" if ":" in host else host


def hand_over(folder: Path) -> None:
    """Let the services' user, who is made where he is missing, own the folder of a run. Raises InstallError."""
    import pwd  # which Windows has not, where the sentence about systemd is wanted

    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", files.VAR]
        done = subprocess.run([*command, "--shell", "/usr/sbin/nologin", ACCOUNT], capture_output=True, check=False)
        if done.returncode != 0:
            raise InstallError(f"The user {ACCOUNT} cannot be made: {done.stderr.decode().strip()}.") from None
        account = pwd.getpwnam(ACCOUNT)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    folder.chmod(0o750)


def start(scope: str, folder: Path) -> None:
    """Start the services, and with each boot; wait until the receiver listens. Raises InstallError."""
    receiver, *others = UNITS
    ordered(scope, "daemon-reload")
    systemctl(scope, "reset-failed", *UNITS)
    ordered(scope, "enable", *UNITS)
    ordered(scope, "restart", receiver)
    until = time.monotonic() + START_SECONDS
    # Behind it the others, which need its certificate.
    while not (folder / files.PAIRING).exists():
        if time.monotonic() > until:
            raise InstallError(f"The receiver does not listen after {START_SECONDS:.0f} s; {journal(scope)} says why.")
        time.sleep(0.1)
    ordered(scope, "restart", *others)


def ordered(scope: str, *arguments: str) -> None:
    """Have systemd do it. Raises InstallError."""
    done = systemctl(scope, *arguments)
    if done.returncode != 0:
        raise InstallError(
            f"systemd says to `{' '.join(arguments)}`: {done.stderr.strip()} What the services say: {journal(scope)}. "
            "--remove takes back what is installed so far."
        )


def journal(scope: str) -> str:
    """The command that shows what the services say."""
    return f"`journalctl {'--user ' if scope == USER else ''}-u ac-receiver -u ac-training`"


def tell(scope: str, folder: Path) -> None:
    """What runs now, how it is looked at, and the pairing string at the end."""
    sudo = "sudo " if scope == SYSTEM else ""
    print(
        f"The services {', '.join(name.removesuffix('.service') for name in UNITS)} run now, and start with "
        f"{'the machine' if scope == SYSTEM else 'your log-in'}. Everything of the run is in {folder}; "
        f"{folder / ENVIRONMENT} may hold variables for receiver and trainer, such as an S3 server's credentials.\n"
        f"How it goes: `{sudo}make status FOLDER={folder}`, {journal(scope)}. Stop: `{sudo}make stop FOLDER={folder}`."
    )
    if scope == USER and shutil.which("loginctl"):
        print(
            "They end with your last session, unless you say once: `loginctl enable-linger "
            f"{getpass.getuser()}`. Then they start with the machine."
        )
    print_link_here(folder)
    print_pairing(folder)


def take_away(scope: str, folder: Path) -> None:
    """Stop and remove the services; the folder stays. Raises InstallError."""
    units = unit_folder(scope)
    refuse_others_units(units)
    if served_by(units) != folder:
        # Where its units went another way, it would count as installed for ever.
        forget(scope, folder)
        refuse_another_run(units, folder)
    there = [name for name in UNITS if (units / name).exists()]
    if not there:
        print(f"No services of this command are in {units}; none is removed.")
        return
    ordered(scope, "disable", "--now", *there)
    for name in there:
        (units / name).unlink()
    ordered(scope, "daemon-reload")
    forget(scope, folder)
    kept = f"The run is still in {folder}" if folder.exists() else f"There is no {folder}: name the run's with --folder"
    print(f"The services are removed. {kept}; delete that folder yourself if you want nothing of it any more.")


def forget(scope: str, folder: Path) -> None:
    """Let the folder no longer count as installed for that manager."""
    mark = folder / INSTALLED
    if mark.exists() and mark.read_text("utf-8").strip() == scope:
        mark.unlink()
        (folder / files.DASHBOARD_URL).unlink(missing_ok=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(install_server)
    app()
