"""Locks that SQLite itself waits for: up to ten seconds for each attempt, whatever the timeout is.

A reader needs a mark in the ``-shm`` file. If another process holds all of them, or was stopped while it wrote there,
SQLite tries a hundred times, sleeps in between, and gives up with ``SQLITE_PROTOCOL``. Nothing can end that wait from
outside. So one caller of this process waits, the others are told its error at once, and a daemon thread tries again
every second until the file can be read.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from chatcache._bridge import Gate, Lock, Shared, StepThread, anew_in_children
from chatcache.errors import StorageError
from chatcache.interrupts import raise_interrupt

__all__ = ["Stall", "is_stalled"]

_PAUSE = 1.0  # seconds between two attempts


class Stall:
    """Tracks whether SQLite waits for one file in vain; shared by all users of the file in this process.

    Args:
        connect: opens the file to read, which takes the locks of a reader.
        at_work: is entered while it is open.

    Attributes:
        error: the error of the caller that waited; None if the file can be read, as far as is known.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], at_work: Gate) -> None:
        self._connect, self._at_work = connect, at_work
        self.begin_anew()
        anew_in_children(self)

    @staticmethod
    def of(path: Path, connect: Callable[[], sqlite3.Connection], at_work: Gate) -> "Stall":
        """Return the one of a file, the same one as long as somebody holds it."""
        return _ALL.of(path, lambda: Stall(connect, at_work))

    def begin_anew(self) -> None:
        """Know nothing: for a child process, which has none of its parent's other threads."""
        self._lock = Lock()
        self._thread: StepThread | None = None
        self.error: StorageError | None = None

    def check(self) -> None:
        """Raise the error of the caller that waited in vain, until the file can be read again.

        Raises:
            StorageError: as described.
        """
        error = self.error
        if error is not None:
            raise StorageError(str(error)) from error.__cause__

    def note(self, error: StorageError) -> None:
        """Note the error of a caller; if it says that SQLite waited in vain, try again in a thread from now on."""
        if not is_stalled(error.__cause__):
            return
        with self._lock:
            if self._thread is None:
                thread = StepThread(self._try)
                if thread.start():
                    self._thread, self.error = thread, error

    def _try(self) -> float:
        if self._is_free():
            with self._lock:
                thread, self._thread, self.error = self._thread, None, None
            if thread is not None:
                thread.stop(0)
        return _PAUSE

    def _is_free(self) -> bool:
        try:
            with self._at_work, closing(self._connect()):
                return True
        except Exception as error:  # noqa: BLE001 - callers get any other error from attempts of their own
            raise_interrupt(error)
            return not is_stalled(error)


def is_stalled(error: BaseException | None) -> bool:
    """Return whether SQLite says that it waited in vain."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_PROTOCOL"


_ALL: "Shared[Path, Stall]" = Shared()
