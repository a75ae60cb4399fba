"""A made-up install folder with the files that somebody looks for in the game's: the line, CSP's settings, the car."""

from pathlib import Path

from racing.track import Track
from tests.fake_ac.pages import CAR_MODEL
from tests.support.fast_lane_writer import write_fast_lane

CSP_VERSION = "0.2.8"


def install(root: Path, track: Track, name: str, layout: str = "", custom_ai: bool = True) -> Path:
    """Write the folder `root` of a game with this track (and layout); the path of its fast_lane.ai.

    custom_ai: CSP's Custom AI is on, and this track allows it.
    """
    place = root / "content" / "tracks" / name
    (place / "data").mkdir(parents=True, exist_ok=True)
    (root / "content" / "cars" / CAR_MODEL).mkdir(parents=True, exist_ok=True)
    (root / "acs.exe").touch()
    (root / "AssettoCorsa.exe").touch()
    config = root / "extension" / "config"
    config.mkdir(parents=True, exist_ok=True)
    on = int(custom_ai)
    (config / "data_manifest.ini").write_text(f"[VERSION]\nSHADERS_PATCH={CSP_VERSION}\n", encoding="utf-8")
    (config / "new_behaviour.ini").write_text(f"[BASIC]\nENABLED=1\n\n[CUSTOM_AI]\nENABLED={on}\n", encoding="utf-8")
    permission = f"[_EXTRA_PERMISSIONS]\nALLOW_CUSTOM_AI_MANIPULATION={on}\n"
    extended = "[SURFACE_0]\nWAV_PITCH=extended-0\nKEY=ROAD\nFRICTION=1.0\nIS_VALID_TRACK=1\n"
    (place / "data" / "surfaces.ini").write_text(extended + "\n" + permission, encoding="utf-8")
    return write_fast_lane(place / layout if layout else place, track)
