"""Named shared memory, the same on Windows and on Linux: existing pages to read, and pages of our own to write.

Promises that a page which nobody has made is an error and is never made by looking for it (Python's own mmap with a
tag name would make it, zeroed, and a missing game would look like a parked car). It knows nothing of what the bytes
mean. On Windows a page is a named mapping of the session and lives as long as anybody holds it open; on Linux it is a
file in /dev/shm (where simshmbridge mirrors the pages of a game under Proton), or in the folder AC_SHM_DIR names.
"""

import sys
from collections.abc import Callable
from typing import Any, Self


class GameError(RuntimeError):
    """The game cannot be used just now; the text says what is so, what it means and what to do."""


class GameNotRunning(GameError):
    """There is no such page, so there is no game that writes it."""


class PageUnusable(GameError):
    """The page is there, but it is too small, or this process may not open it."""


class Page:
    """Shared memory that somebody writes, to be read: `size` bytes of it; `name` is without Windows' prefix."""

    def __init__(self, name: str, view: memoryview, release: Callable[[], None]) -> None:
        self.name = name
        self.size = len(view)
        self._view = view
        self._release: Callable[[], None] | None = release

    def read(self) -> bytes:
        """A copy of the whole page as it is now; raises ValueError on a closed page."""
        return self._view.tobytes()

    def close(self) -> None:
        """Let go of the page; safe to call twice."""
        release, self._release = self._release, None
        if release is not None:
            self._view.release()
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WritablePage(Page):
    """Shared memory that we made, or share with who made it: if it `existed`, its bytes are what was written last."""

    def __init__(
        self, name: str, view: memoryview, release: Callable[[], None], remove: Callable[[], None], existed: bool
    ) -> None:
        super().__init__(name, view, release)
        self.existed = existed
        self._remove = remove

    def write(self, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Put `data` at `offset`; raises ValueError beyond the end or on a closed page."""
        end = offset + len(data)
        if offset < 0 or end > self.size:
            raise ValueError(f"{self.name} has {self.size} bytes; {offset}..{end} does not fit")
        self._view[offset:end] = data

    def remove(self) -> None:
        """Close, and take the page away where it would outlive its holders (Linux); safe to call twice."""
        self.close()
        self._remove()


def _absent(name: str) -> GameNotRunning:
    proton = "; under Proton, start simshmbridge with it, which brings the memory here."
    return GameNotRunning(
        f"The game is not running: its shared memory {name} does not exist. Start Assetto Corsa and enter a session"
        + ("." if sys.platform == "win32" else proton)
    )


def _too_small(name: str, found: int, size: int) -> PageUnusable:
    return PageUnusable(
        f"The shared memory {name} has {found} bytes where the game's has {size}: another program made it, or it is "
        "being made just now. Close other tools that read the game's telemetry and restart the game."
    )


def _refused(name: str, why: str) -> PageUnusable:
    return PageUnusable(
        f"The shared memory {name} cannot be opened: {why}. Run the game and the bridge as the same user, neither as "
        "administrator (or both)."
    )


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _FILE_MAP_READ, _FILE_MAP_WRITE, _PAGE_READWRITE = 0x0004, 0x0002, 0x04
    _ERROR_FILE_NOT_FOUND, _ERROR_ALREADY_EXISTS = 2, 183
    _INVALID_HANDLE_VALUE = wintypes.HANDLE(-1)

    class _Region(ctypes.Structure):
        """MEMORY_BASIC_INFORMATION; ctypes pads it as the compiler does, on 32 and 64 bits."""

        _fields_ = (
            ("BaseAddress", ctypes.c_void_p),
            ("AllocationBase", ctypes.c_void_p),
            ("AllocationProtect", wintypes.DWORD),
            ("PartitionId", wintypes.WORD),
            ("RegionSize", ctypes.c_size_t),
            ("State", wintypes.DWORD),
            ("Protect", wintypes.DWORD),
            ("Type", wintypes.DWORD),
        )

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _HANDLE, _DWORD, _BOOL, _text = wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR
    _pointer, _size = ctypes.c_void_p, ctypes.c_size_t
    _prototypes: tuple[tuple[Any, ...], ...] = (
        (_kernel32.OpenFileMappingW, _HANDLE, _DWORD, _BOOL, _text),
        (_kernel32.CreateFileMappingW, _HANDLE, _HANDLE, _pointer, _DWORD, _DWORD, _DWORD, _text),
        (_kernel32.MapViewOfFile, _pointer, _HANDLE, _DWORD, _DWORD, _DWORD, _size),
        (_kernel32.UnmapViewOfFile, _BOOL, _pointer),
        (_kernel32.VirtualQuery, _size, _pointer, ctypes.POINTER(_Region), _size),
        (_kernel32.CloseHandle, _BOOL, _HANDLE),
    )
    for _function, _result, *_arguments in _prototypes:
        _function.restype, _function.argtypes = _result, _arguments

    def _mapped(name: str, size: int, handle: int, access: int) -> tuple[memoryview, Callable[[], None]]:
        """View the mapping; closes `handle` when it fails, and in the returned release."""
        # The whole mapping, whose size is known only then (in whole memory pages); asking for more than there is fails.
        address = _kernel32.MapViewOfFile(handle, access, 0, 0, 0)
        if not address:
            error = ctypes.WinError(ctypes.get_last_error())
            _kernel32.CloseHandle(handle)
            raise _refused(name, error.strerror or str(error))

        def release() -> None:
            _kernel32.UnmapViewOfFile(address)
            _kernel32.CloseHandle(handle)

        region = _Region()
        _kernel32.VirtualQuery(address, ctypes.byref(region), ctypes.sizeof(region))
        if region.RegionSize < size:
            release()
            raise _too_small(name, region.RegionSize, size)
        return memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B"), release

    def open_page(name: str, size: int) -> Page:
        """As on Linux, below; a named mapping that whoever is logged on here sees."""
        handle = _kernel32.OpenFileMappingW(_FILE_MAP_READ, False, f"Local\\{name}")
        if not handle:
            code = ctypes.get_last_error()
            raise _absent(name) if code == _ERROR_FILE_NOT_FOUND else _refused(name, ctypes.FormatError(code))
        view, release = _mapped(name, size, handle, _FILE_MAP_READ)
        return Page(name, view.toreadonly(), release)

    def create_page(name: str, size: int) -> WritablePage:
        """As on Linux, below; a named mapping that whoever is logged on here sees."""
        handle = _kernel32.CreateFileMappingW(_INVALID_HANDLE_VALUE, None, _PAGE_READWRITE, 0, size, f"Local\\{name}")
        code = ctypes.get_last_error()
        if not handle:
            raise _refused(name, ctypes.FormatError(code))
        view, release = _mapped(name, size, handle, _FILE_MAP_READ | _FILE_MAP_WRITE)
        # Windows takes the page away with its last holder.
        return WritablePage(name, view, release, lambda: None, existed=code == _ERROR_ALREADY_EXISTS)

else:
    import mmap
    import os
    from pathlib import Path

    def open_page(name: str, size: int) -> Page:
        """Open a page that somebody else made, to be read.

        Raises:
            GameNotRunning: it does not exist.
            PageUnusable: it has fewer than `size` bytes, or may not be read.
        """
        try:
            descriptor = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _absent(name) from None
        except OSError as error:
            raise _refused(name, error.strerror or str(error)) from error
        memory = _mapped(name, size, descriptor, mmap.ACCESS_READ)
        return Page(name, memoryview(memory), memory.close)

    def create_page(name: str, size: int) -> WritablePage:
        """Make a page of `size` bytes, zeroed, or open the one that is there, to be written.

        Raises:
            PageUnusable: one is there that is smaller, or may not be written.
        """
        path = _path(name)
        try:
            try:
                descriptor, existed = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), False
                os.ftruncate(descriptor, size)
            except FileExistsError:
                descriptor, existed = os.open(path, os.O_RDWR | os.O_CLOEXEC), True
        except OSError as error:
            raise _refused(name, error.strerror or str(error)) from error
        memory = _mapped(name, size, descriptor, mmap.ACCESS_WRITE)
        return WritablePage(name, memoryview(memory), memory.close, lambda: path.unlink(missing_ok=True), existed)

    def _mapped(name: str, size: int, descriptor: int, access: int) -> mmap.mmap:
        """Map the first `size` bytes; closes `descriptor`."""
        try:
            if (found := os.fstat(descriptor).st_size) < size:
                raise _too_small(name, found, size)
            return mmap.mmap(descriptor, size, access=access)
        finally:
            os.close(descriptor)

    def _path(name: str) -> Path:
        return Path(os.environ.get("AC_SHM_DIR", "/dev/shm")) / name
