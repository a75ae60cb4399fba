"""The dashboard process: `python -m train_cloud.dashboard --config run.json --folder DIR`; `… link --folder DIR`.

DIR is the folder of the receiver and the trainer. The page has a token of its own: AC_DASHBOARD_TOKEN_FILE names its
file, else it is DIR/dashboard_token, which is made if it is missing. With run.json's tls_certificate, else the
receiver's DIR/tls.pem (or the file that AC_DASHBOARD_TLS_FILE names), the page is served by TLS.
`link` prints a link to the running dashboard that lets in once. SIGTERM ends it; the exit codes are
runtime.exit_codes.ExitCode.
"""

import argparse
import asyncio
import logging
import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path

from runtime.exit_codes import ExitCode
from runtime.files import write_private
from runtime.logs import configure_logging, fields
from runtime.signals import stop_on_signals
from train_cloud import notify
from train_cloud.dashboard.reading import Reading
from train_cloud.dashboard.server import bound, serve
from train_cloud.dashboard.sessions import dashboard_token
from train_cloud.dashboard_link import LINK_PATH, LINK_SECONDS, link_code
from train_cloud.named_certificate import NamedCertificate, server_context
from train_cloud.run_config import ConfigError, RunConfig, load_run_config
from train_cloud.run_folder.files import DASHBOARD_TLS_VARIABLE, DASHBOARD_URL, ETC, TLS
from wire.pairing import is_loopback

PORT = 8766

_log = logging.getLogger(__name__)


def main() -> int:
    """Serve until a signal, or print a link; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train_cloud.dashboard",
        description=__doc__.split("\n")[0],
        epilog="Example: python -m train_cloud.dashboard --config run.json --folder work",
    )
    parser.add_argument("command", nargs="?", choices=["serve", "link"], default="serve", help="default: serve")
    parser.add_argument("--config", type=Path, help="the run's run.json; only to serve")
    parser.add_argument("--folder", type=Path, required=True, help="the folder of the receiver and the trainer")
    parser.add_argument("--listen-host", default="127.0.0.1", help="default: this machine alone, 127.0.0.1")
    parser.add_argument("--listen-port", type=int, default=PORT, help=f"default: {PORT}; 0 takes a free one")
    parser.add_argument("--plain", action="store_true", help="http:// without TLS; only for this machine alone")
    parser.add_argument("--instance-folder", type=Path, default=Path(ETC), help=f"of an instance's settings: {ETC}")
    arguments = parser.parse_args()
    if arguments.command == "serve" and arguments.config is None:
        parser.error("to serve, name the run's run.json: --config run.json")
    configure_logging("dashboard")
    for chatty in ("uvicorn", "sse_starlette"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        if arguments.command == "link":
            return _print_link(arguments.folder)
        return _serve(load_run_config(arguments.config), arguments)
    except ConfigError as error:
        _log.error(str(error))
        return ExitCode.USAGE
    except ssl.SSLError as error:
        _log.error("the certificate cannot be used", extra=fields(reason=error))
        return ExitCode.FAILED
    except OSError as error:
        _log.error(str(error))
        return ExitCode.FAILED


def _serve(config: RunConfig, arguments: argparse.Namespace) -> int:
    stop = stop_on_signals()
    folder: Path = arguments.folder
    token, context = dashboard_token(folder), None if arguments.plain else _context(config, folder)
    if context is None and not is_loopback(arguments.listen_host):
        raise ConfigError(
            f"Without a certificate the page would go unencrypted through {arguments.listen_host}. Start the receiver "
            f"first, which makes {folder / TLS}, and leave --plain out, or listen on this machine alone: --listen-host "
            "127.0.0.1."
        )
    host = arguments.listen_host if is_loopback(arguments.listen_host) else config.public_host
    listening = bound(arguments.listen_host, arguments.listen_port)
    address = folder / DASHBOARD_URL

    def on_ready(url: str) -> None:
        # On an instance the folder is there to be read alone, and links are made elsewhere.
        with suppress(OSError):
            write_private(address, url.encode())
        notify.ready(f"the page of the run {config.run_id} is at {url}")
        _log.info(f"the page is at {url}; `make dashboard-link` makes a link that lets in once")

    reading = Reading(config, folder, arguments.instance_folder)
    try:
        asyncio.run(serve(reading, token, listening, context, host, stop, on_ready))
    finally:
        with suppress(OSError):
            address.unlink(missing_ok=True)
    return ExitCode.OK


def _context(config: RunConfig, folder: Path) -> ssl.SSLContext | None:
    """The TLS settings of the server; None where there is no certificate. Raises ConfigError, OSError, ssl.SSLError."""
    if config.tls_certificate is not None and config.tls_key is not None:
        certificate = NamedCertificate(Path(config.tls_certificate), Path(config.tls_key), config.public_host)
        certificate.keep_looking()
        return certificate.context
    named = os.environ.get(DASHBOARD_TLS_VARIABLE)
    file = Path(named) if named else folder / TLS
    return server_context(file) if named or file.exists() else None


def _print_link(folder: Path) -> int:
    """A link alone on standard output; what it is, on standard error."""
    try:
        url = (folder / DASHBOARD_URL).read_text(encoding="utf-8").strip()
    except OSError:
        raise ConfigError(f"No dashboard runs for {folder}. Start one first: make dashboard RUN=run.json.") from None
    print(f"The next line lets in once, within {LINK_SECONDS / 60:.0f} minutes.", file=sys.stderr)
    print(url.rstrip("/") + LINK_PATH + link_code(dashboard_token(folder)), flush=True)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
