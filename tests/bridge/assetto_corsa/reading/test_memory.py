"""Shared memory by name: a missing page is an error and stays missing; ours are made, shared and taken away."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.assetto_corsa.reading.memory import GameNotRunning, PageUnusable, create_page, open_page

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are files on Linux alone")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    return tmp_path


def test_no_game_is_an_error_and_looking_for_it_makes_none(folder: Path) -> None:
    with pytest.raises(GameNotRunning, match=r"acpmf_physics does not exist\. Start Assetto Corsa"):
        open_page("acpmf_physics", 580)
    assert list(folder.iterdir()) == []


def test_what_somebody_writes_is_read_at_once(folder: Path) -> None:
    (folder / "page").write_bytes(bytes(8))
    with open_page("page", 8) as page, (folder / "page").open("r+b") as writer:
        writer.write(b"12345678")
        writer.flush()
        assert page.read() == b"12345678"


def test_a_mirror_may_make_the_page_larger_than_the_game_does(folder: Path) -> None:
    (folder / "page").write_bytes(b"12345678" + bytes(4088))
    with open_page("page", 8) as page:
        assert page.read() == b"12345678"


@pytest.mark.parametrize("size", [0, 7])
def test_a_page_that_is_too_small_is_told_from_a_missing_one(folder: Path, size: int) -> None:
    (folder / "page").write_bytes(bytes(size))
    with pytest.raises(PageUnusable, match=f"page has {size} bytes where the game's has 8"):
        open_page("page", 8)


def test_a_page_that_may_not_be_opened_says_so(folder: Path) -> None:
    (folder / "page").mkdir()
    with pytest.raises(PageUnusable, match="cannot be opened"):
        create_page("page", 8)


def test_a_page_of_ours_is_zeroed_and_read_by_another_process() -> None:
    with create_page("controls", 72) as page:
        assert (page.existed, page.read()) == (False, bytes(72))
        page.write(struct.pack("<f", 0.5), 12)
        reading = "from bridge.assetto_corsa.reading.memory import open_page"
        program = f"{reading}; print(open_page('controls', 72).read().hex(), end='')"
        seen = subprocess.run(
            [sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True, timeout=120
        ).stdout
        assert struct.unpack_from("<f", bytes.fromhex(seen), 12) == (0.5,)


def test_a_page_that_is_there_is_shared_and_not_emptied() -> None:
    with create_page("controls", 72) as first:
        first.write(b"left")
        with create_page("controls", 72) as second:
            assert (second.existed, second.read()[:4]) == (True, b"left")
            second.write(b"gone")
        assert first.read()[:4] == b"gone"


def test_only_who_may_open_the_page_sees_what_is_in_it(folder: Path) -> None:
    with create_page("controls", 72):
        assert (folder / "controls").stat().st_mode & 0o077 == 0


def test_a_page_is_taken_away_once_and_for_all(folder: Path) -> None:
    page = create_page("controls", 72)
    page.remove()
    page.remove()
    assert not (folder / "controls").exists()
    with pytest.raises(ValueError, match="released"):
        page.read()


@pytest.mark.parametrize("offset", [-1, 70])
def test_nothing_is_written_beyond_the_page(offset: int) -> None:
    with create_page("controls", 72) as page, pytest.raises(ValueError, match="does not fit"):
        page.write(b"abcd", offset)
