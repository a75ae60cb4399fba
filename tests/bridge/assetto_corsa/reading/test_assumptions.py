"""A minute of weaving either agrees with what is assumed about the pages, or names what it contradicts."""

import math
from collections.abc import Callable, Iterator

import pytest

from bridge.assetto_corsa.reading.assumptions import AssumptionCheck, JudgedAssumption, Judgement
from bridge.assetto_corsa.reading.layout import CarData, Graphics, Physics, Status
from bridge.assetto_corsa.reading.pages import Snapshot
from bridge.assetto_corsa.reading.state import ASSUMPTIONS

Change = Callable[[Physics, Graphics, CarData], None]


def weaving(change: Change | None = None, status: Status = Status.LIVE, speed: float = 25.0) -> Iterator[Snapshot]:
    """A car that weaves at 25 m/s for 20 s, 50 packets a second, as the pages would have it; then `change`d."""
    for packet in range(1000):
        now = packet / 50.0
        heading, yaw_rate = 0.5 * math.sin(now), 0.5 * math.cos(now)
        physics, graphics, car = Physics(packetId=packet), Graphics(status=int(status)), CarData()
        physics.heading = -heading
        physics.velocity[0], physics.velocity[2] = speed * math.sin(heading), speed * math.cos(heading)
        physics.localAngularVel[1] = yaw_rate
        physics.accG[0] = speed * yaw_rate / 9.80665
        physics.steerAngle = -0.3 * yaw_rate
        physics.numberOfTyresOut = 2
        graphics.iCurrentTime = round(1000.0 * now)
        car.wheels_valid_surface = 0b1010
        if change is not None:
            change(physics, graphics, car)
        yield Snapshot(physics, graphics, car, 100.0 + now, duplicate=False)


def findings(snapshots: Iterator[Snapshot]) -> dict[str, JudgedAssumption]:
    check = AssumptionCheck()
    for snapshot in snapshots:
        check.add(snapshot)
    return {finding.name: finding for finding in check.findings()}


def contradicted(change: Change) -> set[str]:
    return {name for name, finding in findings(weaving(change)).items() if finding.verdict is Judgement.CONTRADICTED}


def test_a_drive_as_it_is_assumed_contradicts_nothing() -> None:
    assert {finding.verdict for finding in findings(weaving()).values()} == {Judgement.HOLDS}


def test_every_finding_is_about_an_assumption_and_says_what_was_measured() -> None:
    found = findings(weaving())
    assert set(found) <= {assumption.name for assumption in ASSUMPTIONS}
    assert "1.00 of speed times yaw rate" in found["acceleration"].measured


def test_a_car_that_stands_says_nothing() -> None:
    def stand(physics: Physics, graphics: Graphics, _: CarData) -> None:
        physics.localAngularVel[1] = physics.heading = physics.steerAngle = 0.0
        graphics.iCurrentTime = 0

    verdicts = {name: finding.verdict for name, finding in findings(weaving(stand, speed=0.0)).items()}
    assert verdicts.pop("wheels out") is Judgement.HOLDS
    assert set(verdicts.values()) == {Judgement.NOT_SEEN}


@pytest.mark.parametrize("status", [Status.OFF, Status.REPLAY, Status.PAUSE])
def test_what_is_not_driven_says_nothing(status: Status) -> None:
    assert {finding.verdict for finding in findings(weaving(status=status)).values()} == {Judgement.NOT_SEEN}


def mirrored_heading(physics: Physics, _: Graphics, __: CarData) -> None:
    physics.heading = -physics.heading


def mirrored_acceleration(physics: Physics, _: Graphics, __: CarData) -> None:
    physics.accG[0] = -physics.accG[0]


def acceleration_in_si(physics: Physics, _: Graphics, __: CarData) -> None:
    physics.accG[0] = 9.80665 * physics.accG[0]


def steering_in_degrees(physics: Physics, _: Graphics, __: CarData) -> None:
    physics.steerAngle = 450.0 * physics.steerAngle


def steering_to_the_left(physics: Physics, _: Graphics, __: CarData) -> None:
    physics.steerAngle = -physics.steerAngle


def other_wheels(_: Physics, __: Graphics, car: CarData) -> None:
    car.wheels_valid_surface = 0b1111


def triple_speed(_: Physics, graphics: Graphics, __: CarData) -> None:
    graphics.iCurrentTime = 3 * graphics.iCurrentTime


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (mirrored_heading, {"heading", "yaw rate"}),
        (mirrored_acceleration, {"acceleration"}),
        (acceleration_in_si, {"acceleration"}),
        (steering_in_degrees, {"steering"}),
        (steering_to_the_left, {"steering"}),
        (other_wheels, {"wheels out"}),
        (triple_speed, {"time"}),
    ],
)
def test_a_page_that_means_something_else_is_found_out(change: Change, names: set[str]) -> None:
    assert contradicted(change) == names


@pytest.mark.parametrize("pictures", [30, 60, 144])
@pytest.mark.parametrize(("pace", "verdict"), [(1.0, Judgement.HOLDS), (0.9, Judgement.CONTRADICTED)])
def test_a_lap_clock_that_moves_once_a_picture_is_judged_by_its_pace(
    pictures: int, pace: float, verdict: Judgement
) -> None:
    def seen_in_pictures() -> Iterator[Snapshot]:
        """Five seconds, 333 packets a second."""
        for packet in range(1665):
            now = packet / 333.0
            graphics = Graphics(status=int(Status.LIVE))
            graphics.iCurrentTime = round(1000.0 * pace * (now * pictures // 1.0) / pictures)
            yield Snapshot(Physics(packetId=packet), graphics, None, 100.0 + now, duplicate=False)

    assert findings(seen_in_pictures())["time"].verdict is verdict


def test_a_game_that_hangs_for_a_moment_still_keeps_time() -> None:
    def hang(_: Physics, graphics: Graphics, __: CarData) -> None:
        graphics.iCurrentTime -= min(graphics.iCurrentTime // 2, 1500)

    assert findings(weaving(hang))["time"].verdict is Judgement.HOLDS
