"""The doctor's findings as lines for a person and as JSON for a bug report, the latter without secrets.

Promises that neither the token, the receiver's address and pin, nor the user's name or home folder is in the JSON.
"""

import json
import platform
from collections.abc import Sequence

from bridge.doctor.messages import Finding, Severity
from bridge.doctor.redaction import redacted
from runtime.logs import printable


def line(finding: Finding) -> str:
    """`ok       packets: 333 a second`: one line, with how to mend it behind an arrow."""
    mend = f"  ->  {finding.message.mend}" if finding.message.mend else ""
    return printable(f"{finding.message.severity:<8} {finding.message.check}: {finding.says}{mend}")


def stops_driving(findings: Sequence[Finding]) -> bool:
    """Whether something is wrong that stops driving."""
    return any(finding.message.severity is Severity.WRONG for finding in findings)


def as_json(findings: Sequence[Finding], software: str, pairing_text: str) -> str:
    """The report for a bug report; `pairing_text` is the pairing string that was used, empty without one."""
    report = {
        "software": software,
        "python": platform.python_version(),
        "system": platform.platform(),
        "stops_driving": stops_driving(findings),
        "findings": [
            {
                "check": finding.message.check,
                "verdict": str(finding.message.severity),
                "message": finding.message.name,
                "says": redacted(finding.says, pairing_text),
            }
            for finding in findings
        ],
    }
    return json.dumps(report, indent=2)
