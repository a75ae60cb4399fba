"""The end of a bridge's efforts: what the receiver, or the pairing, makes impossible for good."""

from runtime.exit_codes import ExitCode


class Refused(Exception):
    """Dialling again would change nothing; `text` says in sentences what happened and what to do."""

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(text)
        self.text, self.exit_code = text, exit_code


class WrongCertificate(Refused):
    """The receiver is not the one that the pairing string names, or nobody vouches for it."""


class UntrustedCertificate(WrongCertificate):
    """The pairing string has no pin, and this system does not trust the certificate: expired, unknown, another name."""


class WrongToken(Refused):
    """The receiver does not accept the token."""


class ProxyUnusable(Refused):
    """This PC is set to call through a proxy that cannot be used."""
