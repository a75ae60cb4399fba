"""Copies shared memory between the fake game's host and a Windows process: files on one end, named mappings there.

    host:     mirror.serve(shm_folder, socket)                      (in a thread or a process of the test)
    Windows:  python mirror.py HOST PORT [HZ]                       (under Wine; this file alone, standard library only)

Promises that a named mapping exists there exactly while its file exists here (and the other way round for what the
client makes), that the pages are copied at 333 Hz unless told otherwise, and that both ends stop when the connection
does. A frame is one byte of kind, one byte of page number, four bytes of length, and the bytes: kind D carries a page,
kind G says that it is gone. A page that did not change is not sent. It knows nothing of what the bytes mean.
"""

import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

_CUSTOM_AI = "AcTools.CSP.NewBehaviour.CustomAI."
FROM_GAME = (
    ("acpmf_physics", 580),
    ("acpmf_graphics", 296),
    ("acpmf_static", 684),
    (_CUSTOM_AI + "Car0.v0", 672),
)
"""Name and size of what the game makes; a page's number is its place in FROM_GAME + FROM_CLIENT."""
FROM_CLIENT = ((_CUSTOM_AI + "CarControls0.v0", 72), (_CUSTOM_AI + "SimState.v1", 8), (_CUSTOM_AI + "SimState.v0", 4))
PAGES = FROM_GAME + FROM_CLIENT
HZ = 333.0

_HEADER = struct.Struct("<cBI")
_DATA, _GONE = b"D", b"G"
_LONGEST = 4096


class ProtocolError(ConnectionError):
    """The other end sent what is no frame."""


def frame(number: int, data: "bytes | None") -> bytes:
    """The bytes of one frame; None for a page that is gone."""
    if data is None:
        return _HEADER.pack(_GONE, number, 0)
    return _HEADER.pack(_DATA, number, len(data)) + data


class Frames:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> "list[tuple[int, bytes | None]]":
        """The whole frames that are there now, as page number and bytes; ProtocolError where it is none."""
        self._buffer += data
        found: list[tuple[int, bytes | None]] = []
        while len(self._buffer) >= _HEADER.size:
            kind, number, length = _HEADER.unpack_from(self._buffer)
            if kind not in (_DATA, _GONE) or number >= len(PAGES) or length > _LONGEST:
                raise ProtocolError("no frame of the mirror")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            found.append((number, bytes(self._buffer[_HEADER.size : end]) if kind == _DATA else None))
            del self._buffer[:end]
        return found


class Files:
    """Pages as files in a folder, as the fake game has them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, size: int) -> "bytes | None":
        """The page's bytes; None while there is none of that size."""
        try:
            data = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        return data[:size] if len(data) >= size else None

    def write(self, name: str, data: bytes) -> None:
        """Make the page, or change it in its place."""
        descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Take the page away."""
        (self._folder / name).unlink(missing_ok=True)


def mirror(connection: socket.socket, pages: "Files | Mappings", ours: range, hz: float = HZ) -> None:
    """Copy the pages numbered `ours` to the other end and write what it sends, until the connection ends.

    What the other end made is taken away when it is gone.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames = Frames()
    sent: dict[int, bytes | None] = dict.fromkeys(ours)
    theirs: set[int] = set()
    due = time.perf_counter()
    try:
        while True:
            for number in ours:
                data = pages.read(*PAGES[number])
                if data != sent[number]:
                    connection.sendall(frame(number, data))
                    sent[number] = data
            due = max(due + 1.0 / hz, time.perf_counter() - 0.05)
            if not _receive_until(connection, due, frames, pages, theirs):
                return
    except (ConnectionError, TimeoutError):
        return
    finally:
        for number in theirs:
            pages.remove(PAGES[number][0])
        connection.close()


def _receive_until(
    connection: socket.socket, due: float, frames: Frames, pages: "Files | Mappings", theirs: "set[int]"
) -> bool:
    """Write the pages that come until the moment `due`; False when the other end has closed."""
    while True:
        left = due - time.perf_counter()
        if not select.select([connection], [], [], max(0.0, left))[0]:
            return True
        data = connection.recv(65536)
        if not data:
            return False
        for number, page in frames.feed(data):
            if page is None:
                theirs.discard(number)
                pages.remove(PAGES[number][0])
            else:
                theirs.add(number)
                pages.write(PAGES[number][0], page)


def serve(folder: Path, listener: socket.socket, hz: float = HZ) -> None:
    """The host's end: mirror the game's pages in `folder` to the one client that connects, until it goes."""
    connection, _ = listener.accept()
    mirror(connection, Files(folder), range(len(FROM_GAME)), hz)


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.CreateFileMappingW.argtypes = (
        wintypes.HANDLE,
        ctypes.c_void_p,
        wintypes.DWORD,
        wintypes.DWORD,
        wintypes.DWORD,
        wintypes.LPCWSTR,
    )
    _kernel32.CreateFileMappingW.restype = wintypes.HANDLE
    _kernel32.OpenFileMappingW.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR)
    _kernel32.OpenFileMappingW.restype = wintypes.HANDLE
    _kernel32.MapViewOfFile.argtypes = (
        wintypes.HANDLE,
        wintypes.DWORD,
        wintypes.DWORD,
        wintypes.DWORD,
        ctypes.c_size_t,
    )
    _kernel32.MapViewOfFile.restype = ctypes.c_void_p
    _kernel32.UnmapViewOfFile.argtypes = (ctypes.c_void_p,)
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    _READ, _WRITE, _READWRITE = 0x0004, 0x0002, 0x04

    class Mappings:
        """Pages as named mappings: those from the game are made and held here, the client's are only looked for.

        A mapping lives while anybody holds it. So a client's page is opened anew for each reading: held open, it
        would seem to be there when the client is gone.
        """

        def __init__(self) -> None:
            self._made: dict[str, tuple[int, int]] = {}

        def read(self, name: str, size: int) -> "bytes | None":
            """The page's bytes; None while nobody has made it."""
            handle = _kernel32.OpenFileMappingW(_READ, False, "Local\\" + name)
            if not handle:
                return None
            view = _kernel32.MapViewOfFile(handle, _READ, 0, 0, size)
            try:
                return ctypes.string_at(view, size) if view else None
            finally:
                if view:
                    _kernel32.UnmapViewOfFile(view)
                _kernel32.CloseHandle(handle)

        def write(self, name: str, data: bytes) -> None:
            """Make the page, or change it; OSError where Windows refuses."""
            if name not in self._made:
                handle = _kernel32.CreateFileMappingW(
                    wintypes.HANDLE(-1), None, _READWRITE, 0, len(data), "Local\\" + name
                )
                view = _kernel32.MapViewOfFile(handle, _WRITE, 0, 0, len(data)) if handle else None
                if not view:
                    raise ctypes.WinError(ctypes.get_last_error())
                self._made[name] = handle, view
            ctypes.memmove(self._made[name][1], data, len(data))

        def remove(self, name: str) -> None:
            """Let go of the page; it is gone when nobody else holds it."""
            if name in self._made:
                handle, view = self._made.pop(name)
                _kernel32.UnmapViewOfFile(view)
                _kernel32.CloseHandle(handle)

    def _pages_of(_arguments: "list[str]") -> Mappings:
        return Mappings()

else:
    # Nothing to hold here: a folder stands in for the named mappings, so that both ends can be tested on the host.
    Mappings = Files

    def _pages_of(arguments: "list[str]") -> Files:
        return Files(Path(arguments[0]))


def main() -> None:
    """The client's end: `mirror.py HOST PORT [HZ] [FOLDER]`; FOLDER only where there are no named mappings."""
    host, port, *rest = sys.argv[1:]
    hz = float(rest[0]) if rest else HZ
    connection = socket.create_connection((host, int(port)), timeout=10.0)
    print("MIRRORING", flush=True)
    mirror(connection, _pages_of(rest[1:]), range(len(FROM_GAME), len(PAGES)), hz)


if __name__ == "__main__":
    main()
