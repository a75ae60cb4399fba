"""The end of a bridge's efforts: what the receiver, or the pairing, makes impossible for good."""

from dataclasses import dataclass

from wire.process import ExitCode


@dataclass(frozen=True)
class Refused(Exception):
    """Dialling again would change nothing; `text` says in sentences what happened and what to do."""

    text: str
    exit_code: ExitCode = ExitCode.REFUSED

    def __str__(self) -> str:
        return self.text
