"""Descriptors: how many this process may have, and files that close their own only."""

import os
import sys
from errno import EMFILE
from pathlib import Path
from weakref import finalize

from chatcache.interrupts import raise_interrupt, suppress

if sys.platform != "win32":
    import resource

__all__ = ["Descriptor", "descriptor_limit", "is_at_the_limit", "share_of_descriptors"]

_FOR_OTHERS = 32  # the program's own files, connections and event loops


class Descriptor:
    """An open file, closed once, at the latest when it is collected.

    A program may close every descriptor, as a daemon does. The number then refers to the next file that any code in the
    process opens. So nothing is closed by a number that refers to another file.

    Args:
        path: the file.
        flags: as `os.open` takes them. A file that is made is one for its owner only.

    Attributes:
        number: what the system knows it by.
        file: the device and the inode of the file.
        close: closes it, once.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self.number = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self.file = _file_of(self.number)
        self.close = finalize(self, _close, self.number, self.file)
        self.close.atexit = False  # the system does it

    def is_open(self) -> bool:
        """Return whether the number is still that of the file."""
        try:
            return _file_of(self.number) == self.file
        except OSError as error:
            raise_interrupt(error)
            return False

    def is_named(self) -> bool:
        """Return whether it is open, and the file was not deleted."""
        return self.is_open() and os.fstat(self.number).st_nlink > 0


def _file_of(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino


def _close(number: int, file: tuple[int, int]) -> None:
    with suppress(OSError):
        if _file_of(number) == file:
            os.close(number)


def descriptor_limit() -> int | None:
    """Return how many descriptors this process may have, or None where there is no such limit."""
    if sys.platform == "win32":  # whose limit is far away
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def share_of_descriptors(each: int, most: int) -> int:
    """Return how many resources of `each` descriptors may be open: from 1 to `most`."""
    limit = descriptor_limit()
    return most if limit is None else max(1, min(most, (limit - _FOR_OTHERS) // each))


def is_at_the_limit() -> bool:
    """Return whether this process cannot open another file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise_interrupt(error)
        return error.errno == EMFILE
    return False
