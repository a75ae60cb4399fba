"""The fake game does what the real one is known to do, so that what passes against it means something."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from racing.vehicle import GT3
from tests.fake_ac.gearbox import FIRST, NEUTRAL, Gearbox
from tests.fake_ac.inputs import CAR_NAME, CONTROLS_NAME, PITS, PLACE, RESTART_BUTTON, START_BUTTON, Wish
from tests.fake_ac.laps import Laps
from tests.fake_ac.offsets import CAR, CAR_SIZE, CONTROLS, CONTROLS_SIZE
from tests.fake_ac.pages import PHYSICS
from tests.fake_ac.shared import Layout, Page, Value
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PACKETS = ("physics_packet", "graphics_packet")
OFF, REPLAY, LIVE, PAUSE = range(4)
CLUTCH: dict[str, Value] = {"autoclutch_on_start": 1, "autoclutch_on_change": 1, "autoshift_active": 1}


class Client:
    """A client of CSP's Custom AI."""

    def __init__(self, game: FakeGame) -> None:
        self.game, self.layout, self.data = game, Layout(CONTROLS, CONTROLS_SIZE), bytearray(CONTROLS_SIZE)
        self.page = Page.create(game.shm / CONTROLS_NAME, CONTROLS_SIZE)

    def set(self, **values: Value) -> None:
        self.layout.put(self.data, values)
        self.page.write(self.data)

    def car(self, field: str) -> float:
        return float(Layout(CAR, CAR_SIZE).get((self.game.shm / CAR_NAME).read_bytes(), field))

    def wait_for_takeover(self) -> None:
        wait_until(lambda: (self.game.shm / CAR_NAME).exists(), "CSP to answer with Car0")


@pytest.fixture
def game(tmp_path: Path) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as running:
        yield running


@pytest.fixture
def client(game: FakeGame) -> Client:
    """In charge of a car in first gear."""
    game.live()
    client = Client(game)
    client.set(**CLUTCH)
    client.wait_for_takeover()
    client.set(gear_up=1)
    wait_until(lambda: game.physics("gear") == FIRST, "first gear")
    client.set(gear_up=0)
    return client


def let_pass(game: FakeGame, packets: int) -> None:
    """Wait until the game has seen what was written before."""
    first = game.physics("packetId")
    wait_until(lambda: game.physics("packetId") > first + packets, f"{packets} packets")


def advances(game: FakeGame) -> bool:
    """Whether the physics packets go on."""
    before = game.truth()["physics_packet"]
    return bool(game.physics("packetId") > before or game.truth()["physics_packet"] > before)


def test_a_new_session_waits_in_the_drive_menu_until_the_start_button_dismisses_it(game: FakeGame) -> None:
    assert game.graphics("status") == OFF
    assert game.physics("packetId") == 0
    game.device().show(buttons=frozenset({START_BUTTON}))
    wait_until(lambda: game.graphics("status") == LIVE and game.physics("packetId") > 10, "the game to be LIVE")


def test_packets_come_at_333_hz_and_frames_at_100_and_a_core_stays_free(game: FakeGame) -> None:
    game.live()

    def share_of_a_core() -> float:
        before, first = game.tell("cost"), game.truth()
        let_pass(game, 400)
        last, after = game.truth(), game.tell("cost")
        seconds, packets, frames = after["time"] - before["time"], *(last[name] - first[name] for name in PACKETS)
        assert packets / seconds < 340.0
        assert frames / packets == pytest.approx(100 / 333, rel=0.1)
        # It makes up for at most 50 ms without a sleep, and a busy machine cannot make a program sleep that spins.
        assert after["sleeps"] - before["sleeps"] > packets / 20
        return float((after["cpu"] - before["cpu"]) / seconds)

    # What other processes do on the same core is billed, too: a window without them comes.
    wait_until(lambda: share_of_a_core() < 0.4, "a window in which it takes less than 0.4 of a core")


def test_a_frame_cap_slows_the_graphics_page_only(game: FakeGame) -> None:
    game.live()
    game.tell("rates", graphics_hz=20.0)
    first = game.truth()
    let_pass(game, 200)
    last = game.truth()
    packets, frames = (last[name] - first[name] for name in PACKETS)
    assert frames == pytest.approx(packets * 20 / 333, abs=1.5)


def test_the_pages_tell_position_and_heading_in_the_games_axes(game: FakeGame) -> None:
    game.live()
    game.tell("put", s=300.0, gap=1.0)
    truth = game.truth()
    x, y = truth["position"]
    wait_until(lambda: game.graphics("carCoordinates")[0] == pytest.approx(y, abs=1e-3), "the car where it was put")
    assert game.graphics("carCoordinates")[2] == pytest.approx(x, abs=1e-3)
    assert math.remainder(game.physics("heading") + truth["heading"], math.tau) == pytest.approx(0.0, abs=1e-3)
    assert game.graphics("normalizedCarPosition") == pytest.approx(300.0 / 2245.26, abs=0.001)
    assert game.physics("speedKmh") == pytest.approx(0.0, abs=0.1)


def test_steering_right_is_positive_and_turns_the_car_right(game: FakeGame) -> None:
    game.live()
    game.tell("put", s=300.0, speed=15.0)
    game.device().show(steer=0.3, throttle=0.3)
    wait_until(lambda: game.physics("steerAngle") > 0.29, "the wheel to turn")
    wait_until(lambda: game.truth()["yaw_rate"] < -0.1, "the car to turn right")
    assert game.physics("localAngularVel")[1] < 0.0
    assert game.physics("accG")[0] < 0.0
    assert game.physics("velocity")[0] ** 2 + game.physics("velocity")[2] ** 2 == pytest.approx(
        (game.physics("speedKmh") / 3.6) ** 2, rel=0.05
    )


def test_custom_ai_takes_over_once_its_client_made_the_mapping_and_tells_so_by_car0(client: Client) -> None:
    client.set(gas=0.8)
    wait_until(lambda: client.car("speed_kmh") > 10.0, "the car to move")
    assert client.game.truth()["custom_ai"]
    assert client.car("wheels_valid_surface") == 15


def test_without_autoclutch_or_a_gear_the_gas_moves_nothing(game: FakeGame) -> None:
    game.live()
    client = Client(game)
    client.set(gas=1.0, gear_up=1)
    client.wait_for_takeover()
    wait_until(lambda: game.truth()["wish"]["gas"] == 1.0, "the gas to arrive")
    let_pass(game, 5)
    assert game.physics("gear") == NEUTRAL
    client.set(gear_up=0, **CLUTCH)
    let_pass(game, 5)
    wait_until(lambda: game.physics("rpms") > 8000, "the engine to race in neutral")
    assert game.physics("speedKmh") < 0.1
    client.set(gear_up=1)
    wait_until(lambda: game.physics("speedKmh") > 5.0, "the car to start in first gear")


def test_custom_ai_that_is_not_allowed_is_ignored(tmp_path: Path) -> None:
    with FakeGame(tmp_path, "seed:7", "--no-custom-ai") as game:
        game.live()
        Client(game).set(gas=1.0, gear_up=1, **CLUTCH)
        let_pass(game, 100)
        assert not (game.shm / CAR_NAME).exists()


def test_teleports_put_the_car_where_and_how_the_client_says(client: Client) -> None:
    game = client.game
    client.set(teleport_to=PLACE, teleport_pos=(-82.0, 12.8, 494.0), teleport_dir=(0.0, 0.0, 1.0))
    wait_until(lambda: game.truth()["position"] == pytest.approx([494.0, -82.0], abs=1e-3), "the car to be put")
    assert game.truth()["heading"] == pytest.approx(0.0, abs=1e-6)
    client.set(teleport_to=PITS)
    wait_until(lambda: game.graphics("isInPit") == 1, "the car in the pits")
    assert game.physics("gear") == NEUTRAL
    assert game.truth()["s"] == pytest.approx(2245.26 - 60.0, abs=0.5)


def test_custom_ai_goes_on_with_the_last_values_of_a_client_that_died(client: Client) -> None:
    client.set(gas=0.7)
    wait_until(lambda: client.game.truth()["wish"]["gas"] == pytest.approx(0.7), "the gas to arrive")
    (client.game.shm / CONTROLS_NAME).unlink()
    let_pass(client.game, 100)
    assert client.game.truth()["wish"]["gas"] == pytest.approx(0.7)


def test_a_person_who_is_told_to_win_overrides_custom_ai(client: Client) -> None:
    client.set(gas=1.0)
    client.game.tell("human", steer=0.5, brake=1.0, wins=True)
    wait_until(lambda: client.game.truth()["wish"]["brake"] == 1.0, "the person's brake")
    wait_until(lambda: client.game.physics("steerAngle") == pytest.approx(0.5, abs=0.01), "the person's wheel")


def test_the_restart_button_begins_the_session_anew_in_the_menu(game: FakeGame) -> None:
    game.live()
    device = game.device()
    device.show(throttle=1.0)
    wait_until(lambda: game.physics("packetId") > 300, "a second of driving")
    device.show(buttons=frozenset({RESTART_BUTTON}))
    wait_until(lambda: game.graphics("status") == OFF, "the menu")
    assert game.truth()["physics_packet"] == 0
    device.show(buttons=frozenset({START_BUTTON}))
    wait_until(lambda: game.graphics("status") == LIVE and game.physics("packetId") > 0, "packets from zero")
    assert game.truth()["s"] == pytest.approx(2245.26 - 10.0, abs=0.5)


@pytest.mark.parametrize(("mode", "status"), [("pause", PAUSE), ("menu", OFF), ("off", OFF)])
def test_what_is_not_driving_is_not_live_and_does_not_move(game: FakeGame, mode: str, status: int) -> None:
    game.live()
    game.tell("put", s=500.0, speed=20.0)
    game.tell("mode", mode=mode)
    wait_until(lambda: game.graphics("status") == status, mode)
    before = game.truth()
    assert not advances(game)
    assert game.truth()["s"] == before["s"]


def test_a_replay_shows_moving_packets_of_a_car_that_stands(game: FakeGame) -> None:
    game.live()
    game.tell("put", s=500.0, speed=20.0)
    wait_until(lambda: game.truth()["s"] > 510.0, "half a second of driving")
    game.tell("mode", mode="replay")
    wait_until(lambda: game.graphics("status") == REPLAY, "the replay")
    before = game.truth()["s"]
    wait_until(lambda: advances(game), "packets of the replay")
    wait_until(lambda: game.physics("speedKmh") < 1.0, "the replay's first moments, when the car stood")
    assert game.truth()["s"] == before


def test_a_torn_page_is_half_new_and_half_old_for_a_while(game: FakeGame) -> None:
    game.live()
    game.device().show(throttle=1.0)
    wait_until(lambda: game.physics("speedKmh") > 20.0, "the car to speed up")

    def halves_differ() -> bool:
        page = (game.shm / "acpmf_physics").read_bytes()
        speed = math.hypot(*PHYSICS.get(page, "localVelocity"))
        return abs(float(PHYSICS.get(page, "speedKmh")) / 3.6 - speed) > 0.005

    wait_until(lambda: not halves_differ(), "a whole page")
    game.tell("tear", seconds=0.5)
    wait_until(lambda: halves_differ() and halves_differ(), "the first half")
    wait_until(lambda: not halves_differ(), "the second half")


def test_a_stalled_game_stays_live_without_packets(game: FakeGame) -> None:
    game.live()
    game.tell("stall", seconds=0.3)
    assert not advances(game)
    assert game.graphics("status") == LIVE
    wait_until(lambda: advances(game), "packets after the stall")


def test_a_game_that_ends_takes_its_pages_along_and_one_that_crashes_leaves_them(game: FakeGame) -> None:
    game.live()
    game.tell("vanish")
    assert not (game.shm / "acpmf_physics").exists()
    game.tell("come_back", into="menu")
    assert game.truth()["physics_packet"] == 0
    game.live()
    game.crash()
    assert game.graphics("status") == LIVE
    game.start()
    assert game.graphics("status") == OFF
    game.stop()
    assert not list(game.shm.iterdir())


def test_driving_into_the_wall_damages_the_car_and_counts_once(client: Client) -> None:
    client.game.tell("put", s=500.0, speed=25.0, askew=0.9)
    wait_until(lambda: client.car("collision_counter") >= 1, "the wall")
    wait_until(lambda: client.game.physics("carDamage")[4] > 0.0, "damage")
    assert client.game.physics("numberOfTyresOut") > 0
    assert client.car("wheels_valid_surface") < 15


def test_recorded_pages_are_published_byte_for_byte(game: FakeGame) -> None:
    first, second = bytes(range(145)) * 4, bytes(reversed(range(145))) * 4
    game.play([(100.0, "physics", first), (100.0, "graphics", bytes(296)), (100.3, "physics", second)])
    page = game.shm / "acpmf_physics"
    wait_until(lambda: page.read_bytes() == first, "the first page")
    wait_until(lambda: page.read_bytes() == second, "the second page")
    assert game.tell("played")["over"]


def test_the_install_holds_the_track_and_the_settings(game: FakeGame) -> None:
    assert (game.root / "content" / "tracks" / "fake_ring" / "ai" / "fast_lane.ai").stat().st_size > 100_000
    assert (game.root / "extension" / "config" / "new_behaviour.ini").exists()


def test_a_lap_counts_from_line_to_line_and_never_after_a_jump() -> None:
    laps = Laps(1000.0)
    for step in range(250):
        laps.advance((990.0 + 10.0 * step) % 1000.0, 0.5)
    assert (laps.completed, laps.last_ms, laps.best_ms) == (2, 50_000, 50_000)
    laps.jump()
    laps.advance(990.0, 0.5)
    laps.advance(5.0, 0.5)
    assert laps.completed == 2
    assert laps.current_ms == pytest.approx(1000.0 * 0.5 * 5.0 / 15.0)


def test_rolling_back_over_the_line_makes_no_lap() -> None:
    laps = Laps(1000.0)
    for s in (990.0, 5.0, 990.0, 5.0, 990.0, 5.0):
        laps.advance(s, 1.0)
    assert laps.completed == 0


def test_a_gear_button_counts_when_it_goes_down_and_a_high_gear_pulls_less() -> None:
    gearbox = Gearbox(GT3)
    up = Wish(gas=1.0, gear_up=True, automatic=False, takes_first=False)
    for _ in range(3):
        gearbox.drive(up, 1, 2000.0, 10.0, 30.0)
    assert gearbox.gear == FIRST
    gearbox.drive(Wish(gas=1.0, automatic=False, takes_first=False), 1, 2000.0, 10.0, 30.0)
    assert 0.0 < gearbox.drive(up, 1, 2000.0, 10.0, 30.0) < 1.0
    assert gearbox.gear == FIRST + 1
