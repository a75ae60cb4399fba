"""`ac-bridge doctor`: looks at all that driving needs, and says in a line each what is wrong and how to mend it."""

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.assetto_corsa.session import BackendKind
from bridge.commands.game_options import AcRoot, Backend
from bridge.commands.options import AllowPlain, Uri
from bridge.pairing_file import config_folder, found_uri
from wire.pairing import Pairing, PairingError, parse_pairing
from wire.process import ExitCode, stop_on_signals

if TYPE_CHECKING:
    from bridge.assetto_corsa import controls
    from bridge.doctor.messages import Finding


def doctor(
    uri: Uri = None,
    ac_root: AcRoot = None,
    track: Annotated[
        str | None, typer.Option(help="A track file that is driven instead of the game's own line (record-lap).")
    ] = None,
    spool: Annotated[Path | None, typer.Option(help="Folder of the spool; default: in your config.")] = None,
    spool_limit_mib: Annotated[int, typer.Option(min=1, help="Most experience that may wait, MiB.")] = 2048,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long the game is watched; 60 with a driven lap shows the most.")
    ] = 3.0,
    wait: Annotated[float, typer.Option(min=0.0, help="Wait so many seconds for a live game first.")] = 0.0,
    move: Annotated[
        bool,
        typer.Option("--move", help="Turn the standing car's front wheels, braked; otherwise nothing is moved."),
    ] = False,
    backend: Backend = BackendKind.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="For bug reports: no secrets, no names.")] = False,
    allow_plain: AllowPlain = False,
) -> None:
    """Check the game, the controls, the disk and the receiver. Exit code 1 when something stops driving."""
    from bridge.doctor import report

    stop = stop_on_signals()
    pairing, unpaired = _pairing(uri, allow_plain)
    findings: list[Finding] = []
    for finding in _game(ac_root, track, seconds, wait, backend, move, stop.is_set):
        findings.append(finding)
        _say(finding, as_json)
    if stop.is_set():
        raise typer.Exit(int(ExitCode.INTERRUPTED))
    for finding in _rest(spool or config_folder() / "spool", spool_limit_mib * 2**20, pairing, unpaired):
        findings.append(finding)
        _say(finding, as_json)
    wrong = report.stops_driving(findings)
    if as_json:
        typer.echo(report.as_json(findings, _software(), pairing))
    else:
        typer.echo(
            "Something stops driving; begin with the first line that says wrong." if wrong else "Nothing is wrong."
        )
    raise typer.Exit(int(ExitCode.FAILED if wrong else ExitCode.OK))


def _game(
    ac_root: Path | None,
    track: str | None,
    seconds: float,
    wait: float,
    backend: BackendKind,
    move: bool,
    stopped: Callable[[], bool],
) -> "Iterator[Finding]":
    from bridge.doctor.files import install_findings
    from bridge.doctor.game import game_findings
    from bridge.doctor.steering import control_findings
    from bridge.doctor.watching import wait_until_live, watch

    wait_until_live(wait, stopped)
    watched = watch(seconds, stopped)
    yield from game_findings(watched)
    yield from install_findings(watched, ac_root, track)
    if not stopped():
        yield from control_findings(watched, _backends(backend), move)


def _rest(spool: Path, limit_bytes: int, pairing: Pairing | None, unpaired: str) -> "Iterator[Finding]":
    from bridge.doctor.cloud import cloud_findings
    from bridge.doctor.files import spool_finding
    from bridge.doctor.messages import Message, found

    yield spool_finding(spool, limit_bytes)
    if pairing is None:
        yield found(Message.NOT_PAIRED, reason=unpaired)
    else:
        yield from cloud_findings(pairing)


def _backends(chosen: BackendKind) -> "list[controls.Backend]":
    from bridge.assetto_corsa.csp import CustomAI
    from bridge.assetto_corsa.gamepad import Gamepad
    from bridge.assetto_corsa.vjoy import VJoy

    backends: list[controls.Backend] = [CustomAI(), Gamepad(), VJoy()]
    return [backend for backend in backends if chosen in (BackendKind.AUTO, backend.name)]


def _pairing(uri: str | None, allow_plain: bool) -> tuple[Pairing | None, str]:
    """The pairing, or why there is none."""
    try:
        return parse_pairing(found_uri(uri, config_folder()), allow_plain), ""
    except PairingError as error:
        return None, str(error)


def _say(finding: "Finding", as_json: bool) -> None:
    from bridge.doctor.report import line

    if not as_json:
        typer.echo(line(finding))


def _software() -> str:
    try:
        return f"ac-training {version('ac-training')}"
    except PackageNotFoundError:
        return "ac-training, not installed"
