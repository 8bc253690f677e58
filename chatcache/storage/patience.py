"""Waiting for a lock on a file: once per file that stays locked, not once per call.

SQLite's own busy timeout waits inside the C library, for each connection by itself: callers queue behind whoever waits,
and each of them then waits as long again. So every connection here has a busy timeout of zero, and the wait happens
outside of all locks of this process: an attempt that finds the file locked is repeated after a short pause.

All who need one file in this process share one `Patience`, a circuit breaker. It knows since when the file is locked.
Once that is as long as a caller's timeout, the file is stuck: each caller makes one attempt, which takes microseconds,
and waits no more. So the first caller after the lock was released finds the file free: no probe has to.

A file that is locked holds up the end of the program for a second at most: once the main thread has ended, threads that
still have something to write give up then.

A `Budget` bounds what one call waits in all of its steps. Within ``budget.spent()`` no step waits past the budget.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TypeVar

from chatcache._bridge import ContextVar, Shared, is_ending
from chatcache.clock import monotonic
from chatcache.errors import StorageError

__all__ = ["Budget", "Patience", "is_busy", "seconds_left"]

R = TypeVar("R")

_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.025, 0.025, 0.05)  # seconds, as SQLite's own
_GAP = 1.0  # seconds without an attempt, after which a file is not known to be locked all the time
_AT_THE_END = 1.0  # seconds for which a thread that waits for a file holds up the end of the program
_GRACE = 0.05  # seconds for a step of a call whose budget is spent: a step on a file that is free takes less
_STALE = 1.0  # seconds after which a passed deadline is ignored: an interrupt left it set


class _Deadline:
    """Until when a step of a call may wait; `outer` is the one that it is within."""

    __slots__ = ("at", "outer")

    def __init__(self, at: float, outer: "_Deadline | None") -> None:
        self.at = at
        self.outer = outer


_DEADLINE: "ContextVar[_Deadline | None]" = ContextVar("chatcache_deadline", default=None)


class Budget:
    """How long the cache may hold up one call, over all of its steps.

    Args:
        seconds: how long in all.
    """

    def __init__(self, seconds: float = inf) -> None:
        self._left = seconds

    def limit(self, seconds: float) -> None:
        """Leave at most so many seconds."""
        self._left = min(self._left, seconds)

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Have the body wait for nothing longer than what is left, and charge the time that it takes.

        A call that was abandoned ends in the middle of whatever runs when it is collected, whose deadline it leaves.
        """
        began = monotonic()
        mine = _Deadline(began + max(self._left, _GRACE), _DEADLINE.get())
        _DEADLINE.set(mine)
        try:
            yield
        finally:
            self._left -= monotonic() - began
            current = _DEADLINE.get()
            while current is not None and current is not mine:
                current = current.outer
            if current is mine:
                _DEADLINE.set(mine.outer)


def seconds_left() -> float:
    """Return how many seconds the caller may still wait; infinity where it has no budget."""
    deadline = _DEADLINE.get()
    if deadline is None:
        return inf
    left = deadline.at - monotonic()
    return inf if left < -_STALE else max(0.0, left)


class Patience:
    """Tracks how long another process has held a file's lock; shared by all users of the file in this process.

    Args:
        path: the file.
        lock: the name of the lock, such as ``write``.

    Attributes:
        error: why the last attempt failed; None while the file is free.
    """

    def __init__(self, path: Path, lock: str) -> None:
        self._path, self._lock = path, lock
        self.error: StorageError | None = None
        self._since = self._seen = inf  # the first and the last attempt of a row of attempts that found it locked

    @staticmethod
    def of(path: Path, lock: str) -> "Patience":
        """Return the one for a lock of a file, the same one as long as somebody holds it."""
        return _ALL.of((str(path), lock), lambda: Patience(path, lock))

    def is_stuck(self, timeout: float) -> bool:
        """Return whether the file was found locked for so many seconds, and not free since."""
        return self._seen - self._since >= timeout if self._seen < inf else False

    def try_until_free(self, attempt: Callable[[], R], timeout: float) -> R:
        """Return what an attempt returns; repeat it while it finds the file locked.

        Args:
            attempt: needs a lock of the file, and does not wait for it. It calls `note_free` once it had the lock: one
                that finds nothing left to do has not asked for it. No lock of this process is held around it.
            timeout: after how many seconds in which the file was locked all the time to give up.

        Raises:
            StorageError: the file stayed locked, or whatever else the attempt raises.
        """
        ends = inf
        for attempts, pause in enumerate(_pauses()):
            began = monotonic()
            try:
                result = attempt()
            except (StorageError, sqlite3.Error) as error:
                if not is_busy(error):
                    raise
                left = self._left(timeout, began)
                if is_ending():
                    ends = min(ends, monotonic() + _AT_THE_END)
                    left = min(left, ends - monotonic())
                self.error = self._held(error, waited=attempts > 0)
                if left <= 0:
                    raise self.error from self.error.__cause__
            else:
                return result
            time.sleep(min(pause, left))
        raise AssertionError("the pauses never end")

    def note_free(self) -> None:
        """Note that this process had the lock, and that it is free now or will be."""
        self._since = self._seen = inf
        self.error = None

    def _held(self, error: StorageError | sqlite3.Error, *, waited: bool) -> StorageError:
        cause = error.__cause__ if isinstance(error, StorageError) else error
        lock = f"its {self._lock} lock"
        held = f"held {lock} for {self._seen - self._since:.1f} s" if waited else f"holds {lock}"
        made = StorageError(
            f"{self._path}: another process {held} ({cause}): find which, or pass a longer timeout; if none does, its "
            "file system has no locks"
        )
        made.__cause__ = cause
        return made

    def _left(self, timeout: float, began: float) -> float:
        """Note that the file is locked, and was when an attempt began; return for how many seconds to try on."""
        now = monotonic()
        if self._since == inf or (began - self._seen > _GAP and not self.is_stuck(timeout)):
            self._since = began
        self._seen = now
        return min(timeout - (now - self._since), seconds_left())


def is_busy(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, says that somebody else has a lock."""
    if isinstance(error, StorageError):
        error = error.__cause__
    name = getattr(error, "sqlite_errorname", "")  # errors that Python itself raises have none
    return isinstance(error, sqlite3.OperationalError) and name.startswith("SQLITE_BUSY")


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]


_ALL: "Shared[tuple[str, str], Patience]" = Shared()
