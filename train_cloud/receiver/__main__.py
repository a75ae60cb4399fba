"""The receiver process: `python -m train_cloud.receiver --config run.json --folder DIR`.

DIR holds the store, the TLS identity and, while the receiver listens, pairing.txt (a secret, 0600). The bridge token is
read from the file that AC_TRAINING_TOKEN_FILE names. An empty DIR is first filled from the bucket. SIGTERM ends it in
order; the exit codes are runtime.exit_codes.ExitCode.
"""

import argparse
import asyncio
import logging
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

from msgspec import structs

from runtime.exit_codes import ExitCode
from runtime.files import write_private
from runtime.logs import FORMATS, configure_logging, fields
from runtime.retry import GaveUp
from runtime.signals import stop_on_signals
from train_cloud import notify
from train_cloud.bucket_probe import probe
from train_cloud.environment import environment_of
from train_cloud.log_shipping import ship_log
from train_cloud.object_store import ObjectStore, ObjectStoreError, patiently
from train_cloud.open_store import open_store
from train_cloud.receiver.backup import Backup
from train_cloud.receiver.restore import RestoreError, restore
from train_cloud.receiver.server import Receiver
from train_cloud.receiver.telemetry_files import FORMS, NoParquet, TelemetryFiles
from train_cloud.receiver.tls import identity_of
from train_cloud.run_config import MAX_DEMONSTRATIONS, ConfigError, RunConfig, load_run_config
from train_cloud.run_folder.files import PAIRING, STORE, TELEMETRY, TOKEN_VARIABLE
from train_cloud.run_folder.keys import run_prefix
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, StoreError, StoreFull
from wire.pairing import Pairing, PairingError, format_pairing, is_loopback, parse_pairing

_log = logging.getLogger(__name__)

_EXIT_CODES: dict[type[Exception], ExitCode] = {
    ConfigError: ExitCode.USAGE,
    NoParquet: ExitCode.USAGE,
    RestoreError: ExitCode.REFUSED,
    ObjectStoreError: ExitCode.STORAGE,
    StoreFull: ExitCode.DISK_FULL,
    StoreError: ExitCode.FAILED,
    OSError: ExitCode.FAILED,
}
"""A subclass stands before its base."""


def main() -> int:
    """Run the receiver until a signal; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train_cloud.receiver", description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=Path, required=True, help="the run's run.json")
    parser.add_argument("--folder", type=Path, required=True, help="where the store and the TLS identity live")
    parser.add_argument("--plain", action="store_true", help="ws:// without TLS; only when listening on loopback")
    parser.add_argument(
        "--show-telemetry", action="store_true", help="print what streaming bridges do, a few lines a second"
    )
    parser.add_argument(
        "--write-telemetry", choices=FORMS, help="keep streamed telemetry in the folder; default: as run.json says"
    )
    parser.add_argument("--log-format", choices=FORMATS, help="how the log speaks; default: words on a terminal only")
    arguments = parser.parse_args()
    configure_logging("receiver", format=arguments.log_format)
    stop = stop_on_signals()
    try:
        config = load_run_config(arguments.config)
        ship_log(config, "receiver")
        if arguments.write_telemetry is not None:
            config = structs.replace(config, write_telemetry=arguments.write_telemetry)
        return _receive(config, arguments.folder, arguments.plain, arguments.show_telemetry, stop)
    except tuple(_EXIT_CODES) as error:
        _log.error(str(error))
        return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
    except GaveUp:
        _log.info("stopped before everything was restored; the next start begins again")
        return ExitCode.OK


def _receive(config: RunConfig, folder: Path, plain: bool, show: bool, stop: threading.Event) -> int:
    if plain and not is_loopback(config.listen_host):
        raise ConfigError(
            f"--plain would send the token unencrypted through {config.listen_host}. Set listen_host to 127.0.0.1, "
            "or leave --plain out."
        )
    if plain and config.tls_certificate is not None:
        raise ConfigError("--plain and the field `tls_certificate` contradict each other: leave out one of them.")
    if is_loopback(config.public_host) and not is_loopback(config.listen_host):
        _log.warning(
            "no other PC can use the pairing string: it names this machine itself; set public_host in run.json to the "
            "name or address by which bridges reach it",
            extra=fields(public_host=config.public_host, listen_host=config.listen_host),
        )
    token = _read_token(config.public_host)
    folder.mkdir(parents=True, exist_ok=True)
    pairing_file = folder / PAIRING
    # First: while this one cannot listen, the string of the one before leads nowhere.
    pairing_file.unlink(missing_ok=True)
    identity = None if plain else identity_of(config, folder)
    objects = open_store(config.bucket, run_prefix(config.run_id))
    store = Store(folder / STORE, config.max_store_bytes)
    _make_ready(store, objects, config, stop)

    telemetry = None
    if config.write_telemetry is not None:
        telemetry = TelemetryFiles(folder / TELEMETRY, config.write_telemetry, config.max_telemetry_bytes)
    receiver = Receiver(config, store, token, telemetry, partial(print, flush=True) if show else None)
    backup = Backup(store, objects, config.segment_seconds, receiver.safe)

    def on_listening(port: int) -> None:
        pin = identity.pin if identity else None
        pairing = format_pairing(Pairing(config.public_host, port, token, pin, tls=identity is not None))
        write_private(pairing_file, f"{pairing}\n".encode())
        notify.ready(f"listening on port {port} for the run {config.run_id}")
        _log.info("listening", extra=fields(host=config.listen_host, port=port, tls=not plain, run_id=config.run_id))

    backup.start()
    context = identity.context if identity else None
    try:
        all_safe = asyncio.run(receiver.serve(stop, context, on_listening, backup.flush, backup.failing_seconds))
    except OSError as error:
        where = f"{config.listen_host}:{config.listen_port}"
        text = f"Cannot listen on {where} ({error.strerror}). Is another receiver running, or is the address not ours?"
        raise OSError(text) from error
    if receiver.crashed:
        return ExitCode.FAILED
    if not all_safe:
        _log.error("ended with experience that is not in the bucket; it stays in this folder and in the spools")
        return ExitCode.STORAGE
    _log.info("ended in order, everything stored is in the bucket")
    return ExitCode.OK


def _make_ready(store: Store, objects: ObjectStore, config: RunConfig, stop: threading.Event) -> None:
    """Bind the store to the run, and fill it from the bucket unless that was done before."""
    known = store.meta("run_id")
    if known not in (None, config.run_id):
        raise RestoreError(
            f"The folder's store belongs to the run {known!r}, not to {config.run_id!r}. Use another folder."
        )
    store.set_meta("run_id", config.run_id)
    progress = store.progress()
    if progress.state == TrainerState.DONE and progress.consumed_steps < config.total_timesteps:
        # More steps are asked for since: no bridge must be sent home before the trainer says so itself.
        store.put_progress(replace(progress, state=TrainerState.STARTING))
    if not store.is_ready():

        def wait(seconds: float) -> bool:
            notify.starting("trying the bucket: waiting for it")
            return stop.wait(seconds)

        patiently(objects.prepare, "making ready what keeps the run", wait)
        patiently(lambda: probe(objects), "trying what the bucket's server can do", wait)
        # The replay of a resumed run ends at its checkpoint, which lies behind what is stored, and demonstrations among
        # it, which the checkpoint holds, fill no place in it: some more are needed.
        steps = config.buffer_size + MAX_DEMONSTRATIONS + config.save_frequency + config.max_lead_steps
        environment = environment_of(config)
        restore(store, objects, steps, environment.signature if environment else None, stop)
        store.set_ready()


def _read_token(host: str) -> str:
    name = os.environ.get(TOKEN_VARIABLE)
    if not name:
        raise ConfigError(f"{TOKEN_VARIABLE} is not set. Let it name the file that holds the bridge token.")
    try:
        token = Path(name).read_text(encoding="utf-8").strip()
        return parse_pairing(format_pairing(Pairing(host, 1, token))).token
    except OSError as error:
        raise ConfigError(f"The token file {name} cannot be read ({error.strerror}).") from None
    except (PairingError, UnicodeDecodeError) as error:
        raise ConfigError(f"The token in {name} cannot be used: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
