"""`make serve`: a run on this machine, for the PCs that reach it, in the foreground; no cloud and no settings needed.

Starts the receiver, the trainer and the page as processes of their own, in a folder that holds everything of the run,
and prints the pairing string. One that is killed is started again. Ctrl-C (or `make stop`) ends all of them in order
with everything saved, and exit code 0; the same command goes on from there.
"""

import errno
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals
from scripts.processes.crew import Crew, EndedEarly
from scripts.processes.folder import UnusableFolder
from scripts.processes.telling import say_that_it_ends
from scripts.serve.address import check_port, is_ours
from scripts.serve.folder import ENDED, FOLDER, LOGS, STOP, fresh_logs, held, prepare
from scripts.serve.installed import is_installed
from scripts.serve.keeping import Keeper, Service
from scripts.serve.pairing import print_link_here, print_pairing
from train_cloud.run_config import ConfigError, RunConfig
from train_cloud.run_folder import files
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, StoreError
from wire.pairing import is_loopback


def serve(
    run: Annotated[
        Path | None,
        typer.Option(envvar="AC_SERVE_RUN", help="run.json of a run of your own; default: the last one, or a new one"),
    ] = None,
    folder: Annotated[Path, typer.Option(envvar="AC_SERVE_FOLDER", help="what holds everything of the run")] = FOLDER,
    host: Annotated[
        str | None,
        typer.Option(envvar="AC_SERVE_HOST", help="name or address by which PCs reach this machine; default: found"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="AC_SERVE_PORT", min=0, max=65_534, help="of the receiver, the next one is the page's; default: 8765"
        ),
    ] = None,
) -> None:
    """Serve a run on this machine until Ctrl-C."""
    configure_logging("serve")
    stop = stop_on_signals()
    try:
        refuse_installed(folder)
        with held(folder):
            config = prepare(folder, run, host, port, check_ports)
            code = keep(config, folder, stop)
            # Whoever asked for the end waits until the folder is let go, and then looks.
            (folder / ENDED).write_text(f"{code:d}\n", encoding="utf-8")
        said = f"Ended in order; everything is saved in {folder}. The same command goes on from there."
        print(said if code == ExitCode.OK else f"Ended; the logs in {folder / LOGS} say what was not saved.")
    except KeyboardInterrupt:
        print("Ended at once; what was not saved yet is in the spools of the bridges.", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except ConfigError as error:
        print(error, file=sys.stderr)
        code = ExitCode.USAGE
    except UnusableFolder as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except EndedEarly as error:
        print(error, file=sys.stderr)
        code = ExitCode.FAILED
    except OSError as error:
        full = error.errno == errno.ENOSPC
        print(
            f"The run cannot go on in {folder}: {error.strerror or error}. Its bridges keep what they drive.",
            file=sys.stderr,
        )
        code = ExitCode.DISK_FULL if full else ExitCode.FAILED
    raise typer.Exit(int(code))


def refuse_installed(folder: Path) -> None:
    """Raise UnusableFolder where systemd serves it, or will at the next boot."""
    if is_installed(folder):
        raise UnusableFolder(
            f"The run in {folder} is a service of this machine (scripts.install_server), which systemd starts and "
            f"stops. `make status FOLDER={folder}` shows how it stands."
        )


def keep(config: RunConfig, folder: Path, stop: threading.Event) -> int:
    """Start everything, tell the person what to do, and keep it until the end; the first exit code that is not 0."""
    print(
        f"Serving the run {config.run_id} from this machine, with everything of it in {folder}: its settings "
        f"({files.RUN_CONFIG}), its data, its logs. Nothing else is used.",
        flush=True,
    )
    tell_how_it_is_reached(config)
    pairing, page = folder / files.PAIRING, folder / files.DASHBOARD_URL
    for stale in (pairing, page):
        stale.unlink(missing_ok=True)
    with Crew(fresh_logs(folder)) as crew:
        say_that_it_ends(stop)
        keeper = Keeper(
            crew, stop, folder / STOP, lambda: is_trained(folder), lambda: tell_that_it_is_trained(config, folder)
        )
        receiver, trainer, dashboard, driver = services(config, folder)
        keeper.start(receiver)
        keeper.start(trainer)
        if config.environment.source == "driver":
            keeper.start(driver)
        if keeper.keep_until(pairing.exists):
            # Behind the receiver, which makes the certificate.
            keeper.start(dashboard)
            if keeper.keep_until(lambda: page.exists() or dashboard.name not in crew.names):
                if page.exists():
                    print_link_here(folder)
                print_pairing(folder)
                keeper.keep_until(lambda: False)
        return keeper.end()


def services(config: RunConfig, folder: Path) -> tuple[Service, Service, Service, Service]:
    """Receiver, trainer, page and driver of the run."""
    common = ["--config", str(folder / files.RUN_CONFIG), "--folder", str(folder)]
    token = {files.TOKEN_VARIABLE: str(folder / files.TOKEN)}
    refused = frozenset({ExitCode.USAGE, ExitCode.REFUSED})
    host, port = page_address(config)
    # To this machine alone no certificate is needed.
    address = ["--listen-host", host, "--listen-port", str(port), *(["--plain"] if is_loopback(host) else [])]
    return (
        Service("receiver", "train_cloud.receiver", common, token, refused),
        Service("trainer", "train_cloud.trainer", common),
        Service("dashboard", "train_cloud.dashboard", [*common, *address], needed=False),
        Service("driver", "train_cloud.driver", common, needed=False),
    )


def check_ports(config: RunConfig) -> None:
    """Raise ConfigError unless receiver and page can listen where the configuration says."""
    check_port("receiver", config.listen_host, config.listen_port)
    check_port("page", *page_address(config))


def page_address(config: RunConfig) -> tuple[str, int]:
    """Host and port that the page listens on: beside the receiver, where the same PCs reach it."""
    alone = is_loopback(config.public_host) or is_loopback(config.listen_host)
    return "127.0.0.1" if alone else config.listen_host, config.listen_port + 1 if config.listen_port else 0


def tell_how_it_is_reached(config: RunConfig) -> None:
    """What is likely to keep the gaming PC out."""
    host = config.public_host
    if is_loopback(host) and not is_loopback(config.listen_host):
        print("This machine has no network: only bridges on it can drive. HOST= names another address.")
    elif not is_ours(host):
        print(
            f"{host} is no address of this machine: right where a router or a container's host forwards the port "
            f"{config.listen_port} to it. If the machine has moved, start again with HOST= its new address, and pair "
            "the PC anew."
        )


def is_trained(folder: Path) -> bool:
    """Whether the trainer has said in the store that all is trained."""
    try:
        with closing(Store(folder / files.STORE, read_only=True)) as store:
            return store.progress().state == TrainerState.DONE
    except StoreError:
        return False


def tell_that_it_is_trained(config: RunConfig, folder: Path) -> None:
    """The trainer has ended, because all is trained."""
    print(
        f"The run {config.run_id} is trained, all {config.total_timesteps:,} steps. `make fetch FOLDER={folder}` "
        f"brings the best policy; a higher total_timesteps in {folder / files.RUN_CONFIG} lets the next start go on. "
        "The page stays until Ctrl-C.",
        flush=True,
    )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(serve)
    app()
