"""The certificate of an authority that run.json names, and whole paths in it."""

import json
from pathlib import PurePosixPath, PureWindowsPath

from wire.pairing import is_address


def whole_path_expected(field: str, path: str) -> str:
    """What to say of a path that depends on the folder in which a process was started."""
    return (
        f"the field `{field}` has the value {json.dumps(path)}: expected a whole path, beginning with / or a drive, as "
        "the run's processes and commands start in other folders and as other users."
    )


def certificate_problem(certificate: str | None, key: str | None, host: str) -> str:
    """What contradicts what in the files named for `host`, as a sentence about run.json; empty when nothing does."""
    if certificate is None and key is None:
        return ""
    if certificate is None or key is None:
        return "only one of the fields `tls_certificate` and `tls_key` is there: expected both, or neither of them."
    if is_address(host):
        return f"the field `public_host` is the address {host}: expected the name of the certificate."
    for field, path in (("tls_certificate", certificate), ("tls_key", key)):
        # Of any system: a PC that only asks after the run reads the same run.json.
        if not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()):
            return whole_path_expected(field, path)
    return ""
