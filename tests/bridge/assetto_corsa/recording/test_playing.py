"""What a stranger's recording may hold, what may lie where it is played, and what a recorder lives through."""

import itertools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.assetto_corsa.reading.memory import GameNotRunning
from bridge.assetto_corsa.reading.pages import PHYSICS_BYTES, STATIC_BYTES, GamePages, PageUnsteady, Snapshot
from bridge.assetto_corsa.recording import playing
from bridge.assetto_corsa.recording.playing import GameRuns, play, recorded
from bridge.assetto_corsa.recording.recording import PageKind, Record, RecordingDamaged
from tests.support.game_pages import WrittenGame
from tests.support.tools import need_page_files

STATIC = Record(PageKind.STATIC, 0.0, bytes(STATIC_BYTES))


@pytest.fixture(autouse=True)
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need_page_files()
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    monkeypatch.setattr(playing, "GAME_LOOK_SECONDS", 0.3)
    return tmp_path


def physics(moment: float, size: int = PHYSICS_BYTES) -> Record:
    return Record(PageKind.PHYSICS, moment, bytes([1]) * size)


def go_on() -> bool:
    return False


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([STATIC, physics(0.0, 579)], "has 579 bytes, but the page acpmf_physics 580"),
        ([STATIC, physics(0.0, 581)], "has 581 bytes"),
        ([STATIC, physics(math.inf)], "is from inf s"),
        ([STATIC, physics(math.nan)], "is from nan s"),
        ([STATIC, physics(0.01), physics(0.005)], "is from 0.005 s, after one from 0.01 s"),
        ([], "holds none of the game's pages"),
        ([Record(PageKind.CONTROLS, 0.0, b"")], "holds none of the game's pages"),
    ],
)
@pytest.mark.parametrize("loop", [False, True])
def test_what_no_recorder_wrote_is_a_sentence(shm: Path, records: list[Record], says: str, loop: bool) -> None:
    with pytest.raises(RecordingDamaged, match=says):
        play(records, go_on, loop)
    assert list(shm.iterdir()) == []


def test_a_loop_begins_again_and_its_pages_stay_meanwhile(shm: Path) -> None:
    calls = itertools.count()
    rounds = 0

    class Rounds:
        def __iter__(self) -> Iterator[Record]:
            nonlocal rounds
            rounds += 1
            assert rounds == 1 or (shm / "acpmf_static").exists()
            return iter([STATIC, physics(0.0)])

    play(Rounds(), lambda: next(calls) > 30, loop=True)
    assert rounds > 3
    assert list(shm.iterdir()) == []


def test_pages_that_a_dead_game_left_are_played_over_and_stay_where_they_are(shm: Path) -> None:
    WrittenGame(shm)
    play([physics(0.0)], go_on)
    assert (shm / "acpmf_physics").read_bytes() == physics(0.0).data
    assert (shm / "acpmf_static").exists()


@contextmanager
def writing_rarely(game: WrittenGame, every: float) -> Iterator[None]:
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(every):
            game.packet()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_game_that_writes_rarely_is_one_that_runs(shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("AC_SHM_DIR", str(shm))
    with writing_rarely(WrittenGame(shm), every=1.2), pytest.raises(GameRuns, match="End the game first"):
        play([physics(0.0)], go_on)


def test_windows_plays_over_nothing_that_is_there(shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WrittenGame(shm)
    before = (shm / "acpmf_physics").read_bytes()
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(GameRuns, match="is there already"):
        play([physics(0.0)], go_on)
    assert (shm / "acpmf_physics").read_bytes() == before


def test_a_recorder_waits_for_a_game_that_is_away_for_a_moment(shm: Path) -> None:
    game = WrittenGame(shm)
    records = recorded(go_on)
    assert next(records).kind is PageKind.STATIC
    assert {next(records).kind, next(records).kind} == {PageKind.PHYSICS, PageKind.GRAPHICS}
    game.vanish()
    threading.Timer(1.5, game.come_back, (77,)).start()
    assert any(record.data[:4] == (77).to_bytes(4, "little") for record in itertools.islice(records, 5))


def test_a_recorder_gives_a_game_up_that_does_not_come_back(shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.assetto_corsa.reading.patience.PATIENCE", 0.3)
    game = WrittenGame(shm)
    records = recorded(go_on)
    for _ in range(3):
        next(records)
    game.vanish()
    with pytest.raises(GameNotRunning):
        next(records)


def test_a_page_in_motion_ends_no_recording(shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game, calls = WrittenGame(shm), itertools.count()
    whole = GamePages.read

    def read(pages: GamePages) -> Snapshot:
        if next(calls) % 2 == 0:
            raise PageUnsteady("in motion")
        return whole(pages)

    monkeypatch.setattr(GamePages, "read", read)
    with writing_rarely(game, every=0.01):
        assert len(list(itertools.islice(recorded(go_on), 10))) == 10
