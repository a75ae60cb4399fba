"""The mirror between the host's pages and a Windows process: its protocol, with a folder in the place of mappings."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_ac import mirror
from tests.support.waiting import wait_until

SCRIPT = Path(mirror.__file__)
PHYSICS, CONTROLS = mirror.PAGES[0], mirror.FROM_CLIENT[0]


class Pair:
    """The host's folder, the folder in the place of a client's mappings, and the client's process."""

    def __init__(self, folder: Path) -> None:
        self.host, self.client = folder / "host", folder / "client"
        self.host.mkdir()
        self.client.mkdir()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.server = threading.Thread(target=mirror.serve, args=(self.host, self.listener))
        self.server.start()
        address = [str(part) for part in self.listener.getsockname()]
        command = [sys.executable, "-I", str(SCRIPT), *address, "333", str(self.client)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.server.join(120)
        self.listener.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    both = Pair(tmp_path)
    yield both
    both.close()


def page(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_the_games_pages_come_change_and_go_on_the_other_end(pair: Pair) -> None:
    name, size = PHYSICS
    (pair.host / name).write_bytes(b"1" * size)
    wait_until(lambda: page(pair.client / name) == b"1" * size, "the page")
    (pair.host / name).write_bytes(b"2" * size)
    wait_until(lambda: page(pair.client / name) == b"2" * size, "the changed page")
    (pair.host / name).unlink()
    wait_until(lambda: not (pair.client / name).exists(), "the page to go")


def test_what_the_client_makes_appears_at_the_game_and_goes_with_the_client(pair: Pair) -> None:
    name, size = CONTROLS
    (pair.client / name).write_bytes(b"c" * size)
    wait_until(lambda: page(pair.host / name) == b"c" * size, "the controls at the game")
    pair.process.kill()
    wait_until(lambda: not (pair.host / name).exists(), "the controls to go")


def test_the_client_ends_with_the_connection_and_leaves_no_page(tmp_path: Path) -> None:
    name, size = PHYSICS
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        command = [sys.executable, "-I", str(SCRIPT), host, str(port), "333", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(mirror.frame(0, b"1" * size))
                wait_until(lambda: page(tmp_path / name) == b"1" * size, "the page")
            assert process.wait(120) == 0
    assert not (tmp_path / name).exists()


def test_frames_are_cut_wherever_the_stream_is() -> None:
    stream = mirror.frame(0, b"abc") + mirror.frame(3, None) + mirror.frame(1, b"")
    frames = mirror.Frames()
    found = [frame for byte in stream for frame in frames.feed(bytes([byte]))]
    assert found == [(0, b"abc"), (3, None), (1, b"")]


@pytest.mark.parametrize("garbage", [b"X\0\0\0\0\0", b"D\x63\0\0\0\0", b"D\0\xff\xff\xff\xff"])
def test_what_is_no_frame_is_refused(garbage: bytes) -> None:
    with pytest.raises(mirror.ProtocolError):
        mirror.Frames().feed(garbage)
