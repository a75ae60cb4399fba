"""The pairing string from a command, for a run whose address changes with each instance.

Without an Elastic IP a replacement has another address, and only the run's owner can look it up (`make pair` prints
it). The command is the user's own and runs in a shell; what it prints is a secret and is shown nowhere.
"""

import subprocess

from wire.pairing import Pairing, PairingError, parse_pairing

COMMAND_SECONDS = 60.0
_SHOWN = 300


def look_up_pairing(command: str, allow_plain: bool = False) -> Pairing:
    """The pairing that `command` prints on standard output, in its last line.

    Raises:
        PairingError: the command fails, takes longer than COMMAND_SECONDS, or prints something else.
    """
    try:
        done = subprocess.run(
            command, shell=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise PairingError(
            f"The pairing command gave no answer within {COMMAND_SECONDS:g} s. Run it by hand to see why."
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-_SHOWN:] or "nothing"
        raise PairingError(f"The pairing command ended with exit code {done.returncode}; it said: {said}")
    lines = done.stdout.decode(errors="replace").split()
    return parse_pairing(lines[-1] if lines else "", allow_plain)
