"""Rows that were read lately, kept in memory, and given again only while nothing was committed since.

A failed search remembers the gap up to the next key, so a request that was never recorded costs one search.

SQLite's own readers know whether the pages they hold are still right by one comparison: the header of the WAL index,
the first 48 bytes of the ``-shm`` file, which a commit of whatever connection of whatever process writes last. It holds
a counter of commits, the salts of the log, and a checksum over all of its frames. `Recent` makes the same comparison,
and so is right when SQLite is; it saves the locks and the search, which are most of what a read costs.

The header is read from memory that is shared with SQLite, as SQLite's own readers do, without a call of the system.
If another program truncates the file while it is open, the next read ends the process by SIGBUS, here and in SQLite's
own readers; nothing can be done about that. SQLite itself truncates to three bytes, and the page's rest reads as 0.

What maps the file has to stay open: POSIX has it that closing a descriptor drops all the locks that the process has on
the file, whoever took them, and those are the locks of SQLite's connections.
"""

import atexit
import os
import sys
from mmap import ACCESS_READ, mmap
from pathlib import Path
from sqlite3 import Connection

from chatcache._bridge import Lock
from chatcache.interrupts import raise_interrupt, suppress

from .descriptors import Descriptor, share_of_descriptors
from .rows import read_next, read_row

__all__ = ["Recent", "WalIndex"]

_HEADER = 48  # bytes, https://www.sqlite.org/walformat.html#the_wal_index_header
_LONGEST_ROW = 65_536  # bytes of one row that is kept
_MOST = 16_777_216  # bytes of all; if there are more, the cache is cleared
_MOST_INDEXES = 64
_ORPHANS: list[mmap] = []
_DESCRIPTORS = 8  # two of an index, and those of the connections that it is beside


class WalIndex:
    """The index of one write-ahead log, open for reading.

    Args:
        descriptor: of the index.

    Attributes:
        header: what changes with each commit; a slice of it is that of the moment.
    """

    _open: "dict[tuple[int, int], WalIndex]" = {}  # noqa: RUF012 - of the process, as SQLite's locks are
    _opening = Lock()  # one that is opened twice would be closed once, and SQLite's locks be gone

    def __init__(self, descriptor: Descriptor) -> None:
        self.header = _mapped(descriptor.number)
        self._descriptor = descriptor

    @classmethod
    def beside(cls, path: Path) -> "WalIndex | None":
        """Return the index of an open SQLite file, or None where there is none, or enough are open already.

        It stays open until its file is deleted, as SQLite does when the last connection is closed.
        """
        if sys.platform == "win32":  # which deletes no file that is mapped
            return None
        beside = path.with_name(f"{path.name}-shm")
        with cls._opening:
            for file in [file for file, index in cls._open.items() if index.is_deleted()]:
                cls._open.pop(file).give_up()
            try:
                found = beside.stat()
                file = found.st_dev, found.st_ino
                if file not in cls._open and len(cls._open) < share_of_descriptors(_DESCRIPTORS, _MOST_INDEXES):
                    cls._open[file] = cls(Descriptor(beside, os.O_RDONLY))
            except (OSError, ValueError) as error:  # it is shorter than a header; what was opened stays so
                raise_interrupt(error)
                return None
            return cls._open.get(file)

    def is_deleted(self) -> bool:
        """Return whether the file has no name any more, so that nobody takes a lock on it, or was closed by others."""
        return not self._descriptor.is_named()

    def give_up(self) -> None:
        """Keep the map for good if others closed its descriptor: the copy that it would close may be another file's."""
        if not self._descriptor.is_open():
            _ORPHANS.append(self.header)


def _mapped(descriptor: int) -> mmap:
    if sys.version_info >= (3, 13):
        return mmap(descriptor, _HEADER, access=ACCESS_READ, trackfd=False)
    return mmap(descriptor, _HEADER, access=ACCESS_READ)  # which has a descriptor of its own, and closes it


if sys.version_info < (3, 13):

    @atexit.register
    def _keep_open() -> None:
        """Have no map closed as the interpreter ends: a commit may still be under way, and would lose its locks."""
        with suppress(ImportError):
            from ctypes import py_object, pythonapi

            for index in WalIndex._open.values():  # noqa: SLF001
                pythonapi.Py_IncRef(py_object(index.header))


class Recent:
    """Values of rows that were read since the last commit, by their keys."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, index: WalIndex | None) -> None:
        """Keep nothing so far; from now on it is this index that says what is still right."""
        self._kept: tuple[WalIndex | None, bytes, dict[str, bytes]] = index, b"", {}
        self._size = 0
        self._gap: tuple[WalIndex, bytes, str, str | None] | None = None

    def get(self, key: str) -> bytes | None:
        """Return a value that was read before and is still what the file holds, or None; for any thread."""
        index, header, rows = self._kept  # in one step, since another thread may clear it
        value = rows.get(key)
        if value is None or index is None or index.header[:] != header:
            return None
        return value

    def lacks(self, key: str) -> bool:
        """Return whether there is still no row of a key, since none was found in the gap that it is in; for any thread.

        A str is compared as SQLite compares its UTF-8.
        """
        gap = self._gap
        if gap is None:
            return False
        index, header, first, end = gap
        return first <= key and (end is None or key < end) and index.header[:] == header

    def read(self, connection: Connection, key: str) -> bytes | None:
        """Read a value from the file and cache it, or cache its absence; for one thread at a time."""
        index = self._kept[0]
        if index is None:
            return read_row(connection, key)
        header = index.header[:]
        value = read_row(connection, key)
        if value is None:
            found, value = read_next(connection, key)
            if index.header[:] == header and value is None:
                self._gap = index, header, key, found
        elif index.header[:] == header:
            self._keep(index, header, key, value)
        return value

    def _keep(self, index: WalIndex, header: bytes, key: str, value: bytes) -> None:
        if header != self._kept[1] or self._size + len(value) > _MOST:
            self._kept = index, header, {}
            self._size = 0
        if len(value) <= _LONGEST_ROW:
            self._kept[2][key] = value
            self._size += len(value)
