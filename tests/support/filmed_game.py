"""A fake game in simulated time with a person at the wheel, and a recording of its pages."""

from pathlib import Path

from bridge.assetto_corsa.recording.recording import PageKind, Record, RecordingWriter
from racing.track import Track
from tests.fake_ac.car import PHYSICS_HZ
from tests.fake_ac.game import Game, Mode
from tests.fake_ac.person import Person
from tests.fake_ac.publisher import NAMES
from tests.support.tools import need_page_files

TRACK, TRACK_NAME = Track.generate(7, 1000.0), "fake_ring"
_KINDS = {PageKind.STATIC: "static", PageKind.PHYSICS: "physics", PageKind.GRAPHICS: "graphics"}


class Filmed:
    """A game in simulated time, with a person at the wheel, and what a recorder makes of it."""

    def __init__(self, folder: Path, track: Track = TRACK, pace: float = 0.9) -> None:
        need_page_files()
        folder.mkdir(exist_ok=True)
        self.folder, self.records, self.time = folder, list[Record](), 0.0
        self.game = Game(folder, track, TRACK_NAME, custom_ai=False)
        self.game.mode = Mode.LIVE
        self.game.person = Person(track, self.game.car.vehicle, pace)
        self.game.put(-30.0, speed=15.0)

    def drive(self, seconds: float, film: bool = True) -> None:
        """Let so much time pass; every third packet is filmed."""
        for tick in range(round(seconds * PHYSICS_HZ)):
            self.game.tick(1.0 / PHYSICS_HZ)
            self.time += 1.0 / PHYSICS_HZ
            if film and tick % 3 == 0:
                self.records += [
                    Record(kind, self.time, (self.folder / NAMES[name]).read_bytes()) for kind, name in _KINDS.items()
                ]

    def file(self) -> Path:
        """The recording so far."""
        path = self.folder / "lap.acpages"
        with RecordingWriter(path) as writer:
            for record in self.records:
                writer.write(record)
        return path

    def drive_laps(self, laps: int = 1) -> None:
        """From before the line over it, and so often to it again."""
        while self.game.laps.completed < laps:
            self.drive(1.0)
