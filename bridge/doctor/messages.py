"""Everything that the doctor can say, in one table: what is so, whether it stops driving, and how to mend it.

Promises that a finding is one of these messages, so that docs/gaming-pc.md can list them all (a test holds it to that).
It looks at nothing by itself.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, StrEnum


class Severity(StrEnum):
    """How bad it is; only WRONG stops driving."""

    OK = "ok"
    HINT = "hint"
    WRONG = "wrong"
    SKIPPED = "skipped"


_OK, _HINT, _WRONG, _SKIPPED = Severity.OK, Severity.HINT, Severity.WRONG, Severity.SKIPPED
_AGAIN = "then run the doctor again."
_REPORT = "Record it (`ac-bridge record FILE`) and report it with the file and with `ac-bridge doctor --json`."


class Message(Enum):
    """One thing that can be found: the check, how bad it is, what is said, and how to mend it; {name} is filled in."""

    GAME = "game", _OK, "runs: {car} on {track}", ""
    NO_GAME = (
        *("game", _WRONG, "does not run: its shared memory is not there"),
        "Start Assetto Corsa and enter a session. Linux: start simshmbridge with the game. Windows: run the game and "
        "the bridge as the same user, neither as administrator.",
    )
    PAGES_UNUSABLE = "game", _WRONG, "cannot be read: {reason}", "Do what it says, " + _AGAIN
    LIVE = "live", _OK, "somebody can drive", ""
    NOT_LIVE = (
        *("live", _WRONG, "the game shows a {status}, and only driving counts"),
        "Press Drive, end the pause or leave the replay; `--wait 30` gives you time to get back into the game.",
    )
    STANDS_STILL = (
        *("live", _WRONG, "the game has written nothing for {seconds} s"),
        "It shows a menu before the session, loads, hangs, or has ended and left its memory behind: enter the session, "
        "wait, or restart it (and simshmbridge).",
    )
    PACKETS = "packets", _OK, "{rate} a second, longest gap {gap} ms", ""
    PACKETS_FEW = (
        *("packets", _WRONG, "only {rate} a second"),
        "Each step needs two (`--rate` says how many steps). Lower the graphics settings and close other programs, "
        + _AGAIN,
    )
    PACKETS_GAPS = (
        *("packets", _HINT, "{rate} a second, but none for {gap} ms once"),
        "Driving stops for each such gap. Lower the graphics settings and close other programs.",
    )
    FRAMES = "frame cap", _OK, "{rate} pictures a second", ""
    FRAMES_CAPPED = (
        *("frame cap", _HINT, "only {rate} pictures a second"),
        "Switch off the framerate limit and vertical sync in the video settings, and any limit for a game in the "
        "background (CSP, the graphics driver).",
    )
    FRAMES_EVEN = (
        *("frame cap", _HINT, "{rate} pictures a second, as evenly as with vertical sync or a limit"),
        "If one of them is on, switch it off in the video settings (CSP and the graphics driver have one, too).",
    )
    ASSUMPTIONS = "assumptions", _OK, "borne out: {names}", ""
    ASSUMPTIONS_UNSEEN = (
        *("assumptions", _SKIPPED, "this drive did not show: {names}"),
        "Drive by hand, with bends, for a minute while `ac-bridge doctor --seconds 60` watches.",
    )
    ASSUMPTION_WRONG = "assumptions", _WRONG, "{name} is not what we take it for: {measured}", _REPORT
    FOLDER = "install folder", _OK, "{folder}", ""
    NO_FOLDER = "install folder", _HINT, "not usable: {reason}", "Name it with --ac-root or the variable AC_ROOT."
    LINE = "fast_lane", _OK, "{track}: {length} m, {width} m wide on average", ""
    LINE_UNREADABLE = (
        *("fast_lane", _WRONG, "no track to drive on: {reason}"),
        "Drive one lap for `ac-bridge record-lap my.csv` and give --track my.csv to drive and to the doctor.",
    )
    NO_CIRCUIT = "fast_lane", _WRONG, "no circuit: {reason}", "Start a session on a track that leads back to its start."
    LINE_UNKNOWN = "fast_lane", _SKIPPED, "which track is driven is not known while no game runs", "Start a session."
    CSP = "CSP", _OK, "version {version}; its settings allow Custom AI", ""
    NO_CSP = (
        *("CSP", _HINT, "not found in the install folder"),
        "Install it with Content Manager (Settings > Custom Shaders Patch), or drive with a virtual pad.",
    )
    CSP_OLD = "CSP", _HINT, "version {version} has no Custom AI", "Update it in Content Manager to 0.1.78 or newer."
    CSP_OFF = (
        *("CSP", _HINT, "version {version}, but Custom AI is off in {file}"),
        "Set ENABLED=1 in its section [CUSTOM_AI] and restart the game; this comes first. What new_behaviour.ini says "
        "in cfg/extension of the documents' folder Assetto Corsa goes before the one in the game's folder.",
    )
    CSP_FORBIDDEN = (
        *("CSP", _HINT, "version {version}; Custom AI is on, without a permission of the track in {file}"),
        "The permission may be needed, and may not be: only if csp does not answer below, set "
        "ALLOW_CUSTOM_AI_MANIPULATION=1 in its section [_EXTRA_PERMISSIONS] (with extended physics) and restart the "
        "session.",
    )
    CSP_UNKNOWN = "CSP", _SKIPPED, "not looked for without the install folder", "See above."
    BACKEND = "controls", _OK, "{backend} answers", ""
    BACKEND_NOT = (
        *("controls", _SKIPPED, "{backend} does not answer: {reason}"),
        "Only needed if no other controls answer.",
    )
    NO_BACKEND = (
        *("controls", _WRONG, "no controls answer"),
        "Make one of those above work. Custom AI (csp) is the best one, since it can also put the car somewhere; where "
        "its settings switch it on, the others are only tried, and driven with, when --backend names them.",
    )
    CONTROLS_MOVING = (
        *("controls", _SKIPPED, "not tried, since that would take over a car that goes {speed} km/h"),
        "Stop the car, " + _AGAIN,
    )
    CONTROLS_TAKEN = (
        *("controls", _SKIPPED, "not tried, since somebody drives through CSP's Custom AI already"),
        "End that bridge, or wait 3 s if it has just ended or was killed (if neither helps, restart the session), "
        + _AGAIN,
    )
    CONTROLS_IN_USE = (
        *("controls", _SKIPPED, "not tried, since another bridge, or `ac-bridge bind`, has the {backend}"),
        "End that one, or wait 3 s if it has just ended or was killed, " + _AGAIN,
    )
    CONTROLS_NO_GAME = "controls", _SKIPPED, "{backend} can only be tried while the game is live", "See above."
    STEERS = "steering", _OK, "the game follows {backend} ({share} of what was asked for)", ""
    STEER_IGNORED = (
        *("steering", _WRONG, "{backend} moves its axis, and the game does not steer"),
        "Choose that device and bind its axes in the game's control settings; `ac-bridge bind` moves them for it. CSP: "
        "restart the session; nobody else may hold the controls.",
    )
    STEER_REVERSED = (
        *("steering", _WRONG, "{backend} steers the wrong way round"),
        "Bind the steering axis anew in the game, not inverted.",
    )
    STEER_SCALE = "steering", _WRONG, "steerAngle moved by {share} of what was asked for through {backend}", _REPORT
    STEER_FILTERED = (
        *("steering", _HINT, "{backend} gives only {share} of what was asked for"),
        "Set gamma to 1, and filter, speed sensitivity and dead zone to 0, in the game's control settings for that "
        "device.",
    )
    STEER_UNASKED = (
        *("steering", _SKIPPED, "not tried"),
        "With the car standing on the track: `ac-bridge doctor --move` turns its front wheels left and right, braked.",
    )
    STEER_NOT_NOW = (
        *("steering", _SKIPPED, "not tried: it needs a live game, a standing car and controls that answer"),
        "See above, " + _AGAIN,
    )
    STEER_ROLLED = "steering", _HINT, "given up, since the car began to roll", "Stop it on level ground, " + _AGAIN
    STEER_LOST = "steering", _HINT, "given up: {reason}", "Stay in the session for these seconds, " + _AGAIN
    SPOOL = "disk", _OK, "{free} free for {folder}", ""
    SPOOL_SMALL = (
        *("disk", _HINT, "{free} free for {folder}, less than the spool may take"),
        "Free some, name another disk with --spool, or lower --spool-limit-mib. Collecting stops when it is full.",
    )
    SPOOL_FULL = "disk", _WRONG, "only {free} free for {folder}", "Free some, or name another disk with --spool."
    SPOOL_LOCKED = "disk", _WRONG, "{folder} takes no files: {reason}", "Name a folder of yours with --spool."
    PAIRED = "pairing", _OK, "with {address}", ""
    NOT_PAIRED = "pairing", _WRONG, "none that can be used: {reason}", "Paste the pairing string into `ac-bridge pair`."
    RECEIVER = "receiver", _OK, "answers; certificate and token are right", ""
    RECEIVER_PLAIN = "receiver", _OK, "answers, and the token is right; nothing is encrypted (ws://)", ""
    UNREACHABLE = (
        *("receiver", _WRONG, "does not answer: {reason}"),
        "Is the instance up (`make status`)? Is your home's address still the allowed one? Does a firewall or proxy "
        "hold it up?",
    )
    THROTTLED = (
        *("receiver", _WRONG, "takes no calls from here just now: wrong tokens came from this address lately"),
        "Wait two minutes and end every bridge that calls with an old pairing string, " + _AGAIN,
    )
    BUSY = (
        *("receiver", _WRONG, "answers, but takes no bridge just now"),
        "It is full or about to be replaced: wait a minute, " + _AGAIN,
    )
    STRANGER = (
        *("receiver", _WRONG, "something else answers in its place: HTTP {status}"),
        "Get the current string (`make pair`). Does a proxy, or another program on that port, answer?",
    )
    PROXY = "receiver", _WRONG, "cannot be called: {reason}", "Let calls to it go past the proxy, " + _AGAIN
    CERTIFICATE = (
        *("receiver", _WRONG, "wrong certificate: {reason}"),
        "Get the current string (`make pair`), and be careful where you got the old one: somebody may be in between.",
    )
    UNTRUSTED = "receiver", _WRONG, "certificate not trusted: {reason}", "Do what the line above says, " + _AGAIN
    TOKEN = (
        *("receiver", _WRONG, "wrong token: {reason}"),
        "Get the current string (`make pair`) and give it to `ac-bridge pair`.",
    )
    REFUSED = "receiver", _WRONG, "wrong version: {reason}", "Bring both sides to the same version of this project."
    ROUND_TRIP = "round trip", _OK, "{median} ms, jitter {jitter} ms", ""
    ROUND_TRIP_SLOW = (
        *("round trip", _HINT, "{median} ms, jitter {jitter} ms"),
        "Driving does not wait for it, new weights come later. Use a cable instead of Wi-Fi, or a nearer region.",
    )
    CLOCK = "clock", _OK, "as the receiver's, within {skew} s", ""
    CLOCK_OFF = (
        *("clock", _HINT, "{skew} s off from the receiver's"),
        "Let the system set its time by itself; logs cannot be compared, and AWS refuses clocks 5 minutes off.",
    )
    CLOCK_UNKNOWN = "clock", _SKIPPED, "the receiver names no time", "A proxy in between may take it away."

    def __init__(self, check: str, severity: Severity, says: str, mend: str) -> None:
        self.check, self.severity, self.says, self.mend = check, severity, says, mend


@dataclass(frozen=True, slots=True)
class Finding:
    """A message with what was found: `values` fill the places in what it says."""

    message: Message
    values: dict[str, str] = field(default_factory=dict)

    @property
    def says(self) -> str:
        """What is so."""
        return self.message.says.format(**self.values)


def found(message: Message, **values: object) -> Finding:
    """A finding with these values, as text."""
    return Finding(message, {name: str(value) for name, value in values.items()})


def table() -> str:
    """The messages as the Markdown table of docs/gaming-pc.md, without those that are ok."""
    rows = [
        f"| {message.check} | {message.severity} | {re.sub('{[a-z]+}', '…', message.says)} | {message.mend} |"
        for message in Message
        if message.severity is not Severity.OK
    ]
    return "\n".join(["| check | verdict | what it says | how to mend it |", "|---|---|---|---|", *rows]) + "\n"
