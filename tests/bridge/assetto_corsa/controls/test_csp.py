"""The Custom AI backend: what lies in its 72 bytes, and whose answer it waits for. Offsets as in CSP's wiki page."""

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls.controls import BackendUnavailable, Button, Vector
from bridge.assetto_corsa.controls.csp import TELEPORT_SECONDS, CustomAI
from tests.support.custom_ai import CAR, CONTROLS, answering, pedals
from tests.support.waiting import wait_until


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def taken(memory: Path) -> Iterator[CustomAI]:
    backend = CustomAI()
    with answering(memory):
        backend.open()
        yield backend
        backend.close()


def test_without_an_answer_the_page_is_taken_away_and_the_sentence_names_the_settings(memory: Path) -> None:
    backend = CustomAI(answer_seconds=0.05)

    with pytest.raises(BackendUnavailable, match=r"\[CUSTOM_AI\].*ALLOW_CUSTOM_AI_MANIPULATION=1"):
        backend.open()

    assert list(memory.iterdir()) == []
    reason = backend.why_not()
    assert reason is not None
    assert "0.1.78" in reason


def test_an_answer_that_is_left_over_from_an_earlier_game_is_none(memory: Path) -> None:
    (memory / CAR).write_bytes(struct.pack("<i668x", 77))

    assert CustomAI(answer_seconds=0.05).why_not() is not None
    with answering(memory, first_packet=78):
        assert CustomAI().why_not() is None


def test_whoever_only_tries_leaves_the_car_to_the_bridge_that_has_it(memory: Path, taken: CustomAI) -> None:
    assert CustomAI().why_not() is None
    taken.apply(0.0, 0.5, 0.0)
    assert pedals(memory) == (0.5, 0.0, 0.0, 0.0, 0.0)


def test_whoever_gets_no_answer_leaves_the_page_of_another_bridge(memory: Path) -> None:
    waiting = CustomAI()
    waiting.attach()
    with pytest.raises(BackendUnavailable, match="has not taken the car over"):
        CustomAI(answer_seconds=0.05).open()

    assert waiting.ours
    assert (memory / CONTROLS).exists()
    waiting.close()


def test_the_page_is_72_bytes_and_neutral_until_somebody_drives(memory: Path, taken: CustomAI) -> None:
    page = (memory / CONTROLS).read_bytes()

    assert taken.why_not() is None, "open ones are not tried again"
    assert len(page) == 72
    assert pedals(memory) == pytest.approx((0.0, 0.3, 0.0, 0.0, 0.0))
    assert page[41:44] == bytes([1, 1, 1]), "clutch on start and on change, blip"
    assert page[68] == 1, "shifts by itself"
    assert page[20:41] == bytes(21), "no button pressed, no teleport asked for"


def test_left_is_negative_for_the_game(memory: Path, taken: CustomAI) -> None:
    taken.apply(steer=0.5, throttle=0.75, brake=0.25)

    assert pedals(memory) == (0.75, 0.25, 0.0, -0.5, 0.0)


def test_what_cannot_be_is_never_written(memory: Path, taken: CustomAI) -> None:
    taken.apply(steer=-9.0, throttle=float("nan"), brake=2.0)

    assert pedals(memory) == (0.0, 1.0, 0.0, 1.0, 0.0)


def test_a_teleport_is_asked_for_long_enough_and_then_withdrawn(memory: Path, taken: CustomAI) -> None:
    taken.teleport(Vector(10.0, 2.0, -30.0), Vector(0.0, 0.0, 1.0))
    began = time.monotonic()
    taken.neutral()
    asked = (memory / CONTROLS).read_bytes()

    def withdrawn() -> bool:
        taken.neutral()
        return (memory / CONTROLS).read_bytes()[40] == 0

    wait_until(withdrawn, "the teleport is withdrawn")

    assert asked[40] == 2 or time.monotonic() - began > TELEPORT_SECONDS
    assert struct.unpack("<6f", asked[44:68]) == (10.0, 2.0, -30.0, 0.0, 0.0, 1.0)
    assert time.monotonic() - began >= TELEPORT_SECONDS


def test_buttons_are_a_shift_up_and_the_pits(memory: Path, taken: CustomAI) -> None:
    taken.press(Button.GEAR_UP, True)
    assert (memory / CONTROLS).read_bytes()[20] == 1
    taken.press(Button.GEAR_UP, False)
    assert (memory / CONTROLS).read_bytes()[20] == 0
    taken.press(Button.TO_PITS, True)
    assert (memory / CONTROLS).read_bytes()[40] == 1
    with pytest.raises(KeyError):
        taken.press(Button.RESET_SESSION, True)


def test_the_game_keeps_neutral_bytes_when_the_page_is_taken_away(memory: Path) -> None:
    backend = CustomAI()
    with answering(memory):
        backend.open()
        game = (memory / CONTROLS).open("rb")
        backend.apply(1.0, 1.0, 0.0)
        backend.close()
        backend.close()
        backend.apply(1.0, 1.0, 0.0)

    with game:
        assert struct.unpack("<5f", game.read(20)) == pytest.approx((0.0, 0.3, 0.0, 0.0, 0.0))
    assert not (memory / CONTROLS).exists()


def test_whoever_has_lost_the_car_is_told_so_and_changes_nothing(memory: Path, taken: CustomAI) -> None:
    successor = CustomAI()
    successor.open()
    successor.apply(0.0, 0.5, 0.0)
    left = (memory / CONTROLS).read_bytes()

    asks: list[Callable[[], None]] = [
        lambda: taken.apply(1.0, 1.0, 0.0),
        lambda: taken.teleport(Vector(1.0, 1.0, 1.0), Vector(0.0, 0.0, 1.0)),
        lambda: taken.press(Button.GEAR_UP, True),
        lambda: taken.press(Button.TO_PITS, True),
    ]
    for ask in asks:
        with pytest.raises(BackendUnavailable, match="another bridge has taken the car"):
            ask()

    assert (memory / CONTROLS).read_bytes() == left
    successor.close()


def test_a_release_of_the_pits_withdraws_a_teleport(memory: Path, taken: CustomAI) -> None:
    taken.teleport(Vector(1.0, 1.0, 1.0), Vector(0.0, 0.0, 1.0))
    taken.press(Button.TO_PITS, False)

    assert (memory / CONTROLS).read_bytes()[40] == 0


def test_whoever_comes_last_drives_and_keeps_the_page(memory: Path, taken: CustomAI) -> None:
    successor = CustomAI()
    successor.open()
    successor.apply(0.0, 0.5, 0.0)

    taken.neutral()
    taken.press(Button.GEAR_UP, False)
    taken.press(Button.TO_PITS, False)
    taken.close()

    assert pedals(memory) == (0.5, 0.0, 0.0, 0.0, 0.0)
    assert (memory / CONTROLS).read_bytes()[40] == 0
    successor.close()
    assert not (memory / CONTROLS).exists()
