"""`ac-bridge doctor`: looks at all that driving needs, and says in a line each what is wrong and how to mend it."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bridge.assetto_corsa.session import BackendKind, backends, chosen_backend
from bridge.commands.game_options import AcRoot, Backend
from bridge.commands.options import AllowPlain, PairingCommand, Uri, give_up, look_up_of
from bridge.pairing.command import COMMAND_SECONDS
from bridge.pairing.file import config_folder, found_uri
from runtime.exit_codes import ExitCode
from runtime.logs import printable
from runtime.signals import stop_on_signals
from wire.pairing import Pairing, PairingError, format_pairing, parse_pairing

if TYPE_CHECKING:
    from bridge.doctor.messages import Finding

_SHORT_SECONDS = 5.0
"""Nobody needs to be told about a wait that is no longer."""


def doctor(
    uri: Uri = None,
    ac_root: AcRoot = None,
    track: Annotated[
        str | None, typer.Option(help="A track file that is driven instead of the game's own line (record-lap).")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=10.0, max=60.0, help="Control steps a second that will be driven, Hz.")
    ] = 20.0,
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
    record_link: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=600.0, metavar="MINUTES", help="Look at nothing, and record so long how late the link is."
        ),
    ] = None,
    link: Annotated[Path, typer.Option(help="File for the recorded link.")] = Path("link.json"),
    as_json: Annotated[bool, typer.Option("--json", help="For bug reports: no secrets, no names.")] = False,
    pairing_command: PairingCommand = None,
    allow_plain: AllowPlain = False,
) -> None:
    """Check the game, the controls, the disk and the receiver. Exit code 1 when something stops driving."""
    from bridge.doctor import report

    stop = stop_on_signals()
    findings: list[Finding] = []
    if record_link is not None:
        look_up = look_up_of(uri, pairing_command, allow_plain, stop)
        _record_link(_Called(uri, look_up, allow_plain), record_link, link, stop.is_set)
    called = _Called(uri, look_up_of(uri, pairing_command, allow_plain, stop), allow_plain)
    for finding in chain(
        _game(ac_root, track, rate, seconds, wait, backend, move, stop.is_set),
        _rest(spool or config_folder() / "spool", spool_limit_mib * 2**20, called, stop.is_set),
    ):
        # What was found while it was told to end may be wrong only because of that.
        if stop.is_set():
            break
        findings.append(finding)
        if not as_json:
            typer.echo(report.line(finding))
    if stop.is_set():
        raise typer.Exit(int(ExitCode.INTERRUPTED))
    wrong = report.stops_driving(findings)
    if as_json:
        from bridge.driving.garage import software

        typer.echo(report.as_json(findings, software(), called.text))
    else:
        stops = "Something stops driving; begin with the first line that says wrong."
        typer.echo(stops if wrong else "Nothing is wrong.")
    raise typer.Exit(int(ExitCode.FAILED if wrong else ExitCode.OK))


def _record_link(called: "_Called", minutes: float, file: Path, stopped: Callable[[], bool]) -> NoReturn:
    from bridge.doctor.link_recording import EVERY_SECONDS, CannotRecord, round_trips
    from bridge.link.refusal import Refused
    from racing.link_model import LinkError, link_text, recorded_link

    try:
        pairing = called.pairing()
        _try_to_write(file)
        typer.echo(f"Recording the link to the receiver for {minutes:g} min.", err=True)
        trips = round_trips(pairing, 60.0 * minutes, stopped)
        link = recorded_link(trips, EVERY_SECONDS)
        file.write_text(link_text(link) + "\n", encoding="utf-8")
    except PairingError as error:
        give_up(f"The link cannot be recorded: {error}.")
    except (CannotRecord, LinkError) as error:
        give_up(f"The link could not be recorded: {error} `ac-bridge doctor` says what is wrong.", ExitCode.FAILED)
    except Refused as error:
        give_up(error.text, error.exit_code)
    except OSError as error:
        give_up(f"The link cannot be written to {file} ({error.strerror}). Name another file with --link.")
    least, median, most = (1000.0 * link.delays[place] for place in (0, len(link.delays) // 2, -1))
    stalls = link.stalls_per_second * EVERY_SECONDS * len(trips)
    typer.echo(
        f"{len(trips)} round trips: {least:.1f} ms at least, half of them below {median:.1f} ms, all below "
        f"{most:.1f} ms but for {stalls:.0f} stalls of {link.stall_seconds:.2f} s in the mean. Written to {file}: put "
        "it into run.json as `link`, and give it to the simulated cars: ac-bridge drive --car simulated --link."
    )
    raise typer.Exit(int(ExitCode.OK))


def _try_to_write(file: Path) -> None:
    """Raise OSError now, and not after minutes, where nothing can be written there; what is there stays as it is."""
    was_there = file.exists()
    with file.open("ab"):
        pass
    if not was_there:
        file.unlink()


def _game(
    ac_root: Path | None,
    track: str | None,
    rate: float,
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

    if wait > 0.0:
        typer.echo(f"Waiting for a live game, {wait:g} s at most: switch to it now.", err=True)
    wait_until_live(wait, stopped)
    if seconds > _SHORT_SECONDS:
        typer.echo(f"Watching the game for {seconds:g} s: drive now.", err=True)
    watched = watch(seconds, stopped)
    yield from game_findings(watched, rate)
    yield from install_findings(watched, ac_root, track)
    if not stopped():
        yield from control_findings(watched, backends(chosen_backend(backend, ac_root)), move)


def _rest(spool: Path, limit_bytes: int, called: "_Called", stopped: Callable[[], bool]) -> "Iterator[Finding]":
    from bridge.doctor.cloud import cloud_findings
    from bridge.doctor.files import spool_finding
    from bridge.doctor.messages import Message, found

    yield spool_finding(spool, limit_bytes)
    try:
        pairing = called.pairing()
    except PairingError as error:
        yield found(Message.NOT_PAIRED, reason=error)
    else:
        yield from cloud_findings(pairing, stopped)


class _Called:
    """Whom to call; `text` is the pairing string, once it is known."""

    def __init__(self, uri: str | None, look_up: Callable[[], Pairing] | None, allow_plain: bool) -> None:
        self.text = ""
        self._uri, self._look_up, self._allow_plain = uri, look_up, allow_plain

    def pairing(self) -> Pairing:
        """Find out; raises PairingError."""
        if self._look_up is None:
            self.text = found_uri(self._uri, config_folder())
            return parse_pairing(self.text, self._allow_plain)
        typer.echo(f"Asking the pairing command, {COMMAND_SECONDS:g} s at most.", err=True)
        try:
            pairing = self._look_up()
        except PairingError as error:
            # Its own words may hold anything, and what is found goes into bug reports.
            typer.echo(printable(str(error), keep="\n"), err=True)
            raise PairingError("the pairing command gives none") from None
        self.text = format_pairing(pairing)
        return pairing
