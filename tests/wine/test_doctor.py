"""The doctor in Windows: the same game, controls and receiver that are driven, seen as they are, and told in a pipe."""

import json
from dataclasses import replace

import pytest

from runtime.exit_codes import ExitCode
from tests.support.windows import Windows
from tests.wine.gaming_pc import Run, bridge, run, s3
from wire.pairing import format_pairing

__all__ = ["run", "s3"]
pytestmark = [pytest.mark.wine, pytest.mark.timeout(3600)]

_DOCTOR = ("-m", "bridge", "doctor", "--backend", "csp", "--seconds", "2")


def test_a_pc_that_can_drive_is_well_and_its_wheels_turn(windows: Windows, run: Run) -> None:
    starved = True
    while starved:
        with bridge(windows, run, *_DOCTOR, "--move") as doctor:
            code = doctor.wait(300.0)
        # A busy machine gives the game too little of its time, which is true.
        starved = any(words in doctor.output for words in ("wrong    packets: ", "the game's clock runs at 0."))
    assert code == ExitCode.OK, doctor.output + doctor.errors
    lines = dict(line.split(": ", 1) for line in doctor.output.splitlines() if ": " in line)
    well = {name.split()[-1] for name in lines if name.startswith("ok ")}
    assert well >= {"game", "live", "packets", "fast_lane", "CSP", "controls", "steering", "disk", "receiver"}, lines
    assert "fake_ring" in lines["ok       game"]
    assert doctor.output.rstrip().endswith("Nothing is wrong.")


def test_a_report_names_what_is_wrong_and_no_secret(windows: Windows, run: Run) -> None:
    stranger = replace(run.receiver.pairing(), token="x" * 32)
    run.game.tell("vanish")
    wrong = {"AC_BRIDGE_URI": format_pairing(stranger)}
    with windows.start(*_DOCTOR, "--json", folder=run.home, **run.environment | wrong) as doctor:
        assert doctor.wait(300.0) == ExitCode.FAILED, doctor.errors
    findings = {finding["check"]: finding for finding in json.loads(doctor.output)["findings"]}
    assert findings["game"]["message"] == "NO_GAME"
    assert findings["receiver"]["message"] == "TOKEN"
    assert stranger.token not in doctor.output
    assert stranger.pin is not None
    assert stranger.pin[:16] not in doctor.output
