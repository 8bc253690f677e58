"""How the files of bundles are read and written.

Every writer of a bundle or a blob holds the lock of the folder. It is ``flock`` on the folder itself: there is no lock
file that git could commit, and the lock ends with its process. Under the lock a file is written beside its place and
renamed, so a reader, which takes no lock, sees the old file or the new one. The next writer removes what a killed one
left there.
"""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatcache._bridge import anew_in_children, get_ident, pause
from chatcache.clock import monotonic
from chatcache.errors import BundleError
from chatcache.interrupts import raise_interrupt, suppress

_IS_POSIX = os.name == "posix"  # Windows can neither lock nor sync a folder
if _IS_POSIX:
    import fcntl

__all__ = ["BLOBS", "LARGEST", "is_leftover", "locked", "read", "sync", "write"]

BLOBS = "blobs"
"""The name of the folder of blobs, within the folder of the bundles."""
LARGEST = 64 * 1024 * 1024
"""How many bytes a file may have that is read or written here."""

_PATIENCE = 10.0  # seconds that a writer waits for another one
_IMPATIENCE = 0.1  # seconds, after another one kept a writer waiting for so long
_STEP = 0.005  # seconds between two attempts to get the lock
_LONGEST_NAME = 220  # bytes of a file's name that stands in the name of its temporary file
_TEMPORARY = ".chatcache-tmp"  # how the names of temporary files end, and those of nobody else's
_LEFTOVER = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(_TEMPORARY)}", re.DOTALL)
_NOT_SYNCED = {errno.EINVAL, errno.ENOTSUP}  # by file systems that cannot sync a folder

_Place = tuple[int, int]
"""The device and the inode of a folder."""


class _Locks:
    """The locks that this process holds, each with the thread that has it.

    Attributes:
        given_up: the folders whose lock this process waited for in vain, until it gets it.
    """

    def __init__(self) -> None:
        self.given_up: set[Path] = set()
        self._held: dict[_Place, tuple[int, int]] = {}
        anew_in_children(self)

    def holds(self, folder: Path) -> bool:
        """Whether this thread holds the lock of a folder."""
        _, thread = self._held.get(_place_of(folder.stat()), (0, 0))
        return thread == get_ident()

    def take(self, folder: Path) -> _Place | None:
        """Take the lock of a folder if it is free; return the place of the folder, or None."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        place = _place_of(os.fstat(descriptor))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if place == _place_of(folder.stat()):  # else somebody replaced the folder in the meantime
                self._held[place] = descriptor, get_ident()
                return place
        except BlockingIOError as error:
            raise_interrupt(error)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def release(self, place: _Place) -> None:
        """Release a lock, also for a child process that inherited its file."""
        descriptor, _ = self._held.pop(place, (None, 0))
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def begin_anew(self) -> None:
        """Leave all locks to the parent process."""
        held, self._held = self._held, {}
        for descriptor, _ in held.values():
            os.close(descriptor)


_locks = _Locks()


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the lock of a folder for as long as the body runs; a thread that holds it may take it again.

    Yields how many temporary files of killed writers were there; they are removed.

    Args:
        folder: the folder of bundles, which is made if it is not there.

    Raises:
        BundleError: another process or thread holds the lock for 10 seconds, or has held it for so long before and
            still does, or the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = None if not _IS_POSIX or _locks.holds(folder) else _acquired(folder)
    except OSError as error:
        raise_interrupt(error)
        raise BundleError(f"{folder} cannot be locked, to write a bundle: {error}") from error
    try:
        yield 0 if place is None else _remove_leftovers(folder)
    finally:
        if place is not None:
            _locks.release(place)


def read(file: Path, most: int = LARGEST) -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read, is no regular file, such as a device or a pipe, or has more than `most` bytes.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))  # a pipe is not waited for
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"it is no regular file, but {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}")
        content = opened.read(most + 1)
    if len(content) > most:
        raise OSError(f"it has {max(status.st_size, len(content)):,} bytes, and at most {most:,} are read")
    return content


_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def write(file: Path, content: bytes) -> bool:
    """Give a file this content in one step, under the lock of its folder; return False if it has it already.

    Raises:
        OSError: it cannot be written; what was there is left.
    """
    if _has(file, content):
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(_TEMPORARY, f".{_beside(file.name)}.", file.parent)
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).chmod(_mode_of(file))
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def sync(folder: Path) -> None:
    """Have the names in a folder survive a crash of the machine.

    Raises:
        OSError: the folder cannot be synced.
    """
    if not _IS_POSIX:
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise_interrupt(error)
        if error.errno not in _NOT_SYNCED:
            raise
    finally:
        os.close(descriptor)


def is_leftover(name: str) -> bool:
    """Whether a file's name is that of a temporary file of `write`."""
    return _LEFTOVER.fullmatch(name) is not None


def _beside(name: str) -> str:
    """Return the part of a temporary file's name that identifies its target."""
    return "long" if len(os.fsencode(name)) > _LONGEST_NAME else name


def _acquired(folder: Path) -> _Place:
    where = folder.absolute()
    deadline = monotonic() + (_IMPATIENCE if where in _locks.given_up else _PATIENCE)
    while (place := _locks.take(folder)) is None:
        if monotonic() > deadline:
            _locks.given_up.add(where)
            raise BundleError(
                f"{folder} is locked: something else has been writing a bundle there for {_PATIENCE:.0f} seconds; if "
                "it is a process that is stopped, continue or end it, and try again"
            )
        pause(_STEP)
    _locks.given_up.discard(where)
    return place


def _place_of(status: os.stat_result) -> _Place:
    return status.st_dev, status.st_ino


def _remove_leftovers(folder: Path) -> int:
    removed = 0
    for each in (folder, folder / BLOBS):
        with suppress(OSError):  # there are no blobs; or the file is another user's, which is no reason not to write
            for file in [file for file in each.iterdir() if is_leftover(file.name)]:
                file.unlink()
                removed += 1
    return removed


def _mode_of(file: Path) -> int:
    """Return the permissions of a file; of one that is not there those of a new one."""
    try:
        return file.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o644


def _has(file: Path, content: bytes) -> bool:
    try:
        return not file.is_symlink() and read(file, len(content)) == content
    except OSError as error:  # it is not there, or is to be replaced
        raise_interrupt(error)
        return False
