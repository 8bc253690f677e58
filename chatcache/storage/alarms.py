"""Alarms: when an object is to be called, and the calls.

The alarm of an object is a row of its own file, so it is set, undone and lost with the writes around it. Which objects
of a namespace have one stands in the index, ``metadata.sqlite`` beside them, which is told before the object's file is
committed where an alarm comes nearer, and afterwards where it goes: whatever is killed in between, the index names no
time that is too late.

One process at a time calls the handlers of a namespace: the one that has the lock of ``alarms.lock``, which ends with
it. A handler is called at least once: an alarm is deleted when its handler returned. One that raises is called again
after 2, 4, 8, 16, 32 and 64 seconds, each with up to a quarter more, and then no more, as in workerd.
"""

import inspect
import logging
import math
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from chatcache._bridge import LoopThread, beside, off_loop
from chatcache.clock import Clock
from chatcache.errors import InvalidInputError, StorageError

from .database import connect, explained
from .locks import FileLock

__all__ = ["Alarm", "AlarmIndex", "Alarms", "ObjectSchedule", "Target"]

_logger = logging.getLogger("chatcache")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS _cf_ALARM "
    "(actor_id TEXT PRIMARY KEY, scheduled_time INTEGER, actor_name TEXT) WITHOUT ROWID"
)
_SOONER = (
    "INSERT INTO _cf_ALARM VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET scheduled_time = min(scheduled_time, excluded.scheduled_time)"
)
_EXACTLY = "UPDATE _cf_ALARM SET scheduled_time = ? WHERE actor_id = ? AND scheduled_time <> ?"
_NOT = "DELETE FROM _cf_ALARM WHERE actor_id = ?"
_DUE = "SELECT actor_id, scheduled_time, actor_name FROM _cf_ALARM ORDER BY scheduled_time"
_RETRIES = (2, 4, 8, 16, 32, 64)  # seconds
_JITTER = 0.25
_LOOK = 1.0  # seconds at most between looks at the index, which other processes write to as well
_LATEST = datetime(2189, 1, 1, tzinfo=UTC).timestamp()  # workerd's, the end of its clock


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a handler is told of the alarm that it is called for.

    Attributes:
        scheduled_time: when it was to go off, in UTC.
        retry_count: how often the handler raised for it so far.
    """

    scheduled_time: datetime
    retry_count: int

    @property
    def is_retry(self) -> bool:
        """Whether the handler was called for it before."""
        return self.retry_count > 0


class Target(Protocol):
    """An object, as far as its alarm is concerned."""

    def due(self) -> int | None:
        """Return when its alarm is to go off, as its file says, in nanoseconds since the epoch."""
        ...

    def fire(self, alarm: Alarm) -> Awaitable[None] | None:
        """Call the handler."""
        ...

    def begin(self, when: int) -> None:
        """Note that the handler runs for an alarm."""
        ...

    def end(self) -> bool:
        """Note that the handler ended; return whether no alarm was set meanwhile."""
        ...

    def forget(self, when: int) -> None:
        """Delete the alarm if it is still that one."""
        ...


class AlarmIndex:
    """Which objects of a namespace have an alarm, and when."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._path = folder / "metadata.sqlite"
        self._timeout = timeout

    def exists(self) -> bool:
        """Return whether any object ever had an alarm."""
        return self._path.exists()

    def sooner(self, identifier: str, when: int, name: str | None) -> None:
        """Note an alarm, unless an earlier one is noted."""
        self._write(_SOONER, identifier, when, name)

    def exactly(self, identifier: str, when: int | None) -> None:
        """Note the alarm of an object that has one noted, or that it has none."""
        if when is None:
            self._write(_NOT, identifier)
        else:
            self._write(_EXACTLY, when, identifier, when)

    def all(self) -> list[tuple[str, int, str | None]]:
        """Return id, time and name of each object with an alarm, the earliest first."""
        if not self.exists():
            return []
        with self._connection() as connection:
            return connection.execute(_DUE).fetchall()

    def _write(self, sql: str, *parameters: str | int | None) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute(sql, parameters)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for one statement: alarms are rare, and a connection kept would have to be given up."""
        try:
            connection = connect(self._path, self._timeout, "PRAGMA journal_mode = WAL", _SCHEMA, make=True)
            try:
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise explained(error, self._path) from error


class ObjectSchedule:
    """The schedule of one object: see `chatcache.storage.turns.Schedule`."""

    def __init__(self, alarms: "Alarms", identifier: str, name: str | None) -> None:
        self._alarms = alarms
        self._id = identifier
        self._name = name

    def time_of(self, when: datetime | float) -> int:
        """Return a time in nanoseconds since the epoch, in whole milliseconds, not before now."""
        seconds = _seconds(when)
        return max(int(seconds * 1000), int(self._alarms.clock() * 1000)) * 1_000_000

    def before(self, when: int) -> None:
        """Note an alarm that is about to be committed."""
        self._alarms.index.sooner(self._id, when, self._name)

    def after(self, when: int | None) -> None:
        """Note the alarm that was committed, or that there is none any more."""
        try:
            self._alarms.index.exactly(self._id, when)
        except StorageError as error:  # it names a time that is too early, which is looked into then
            _logger.warning("the index of alarms was not told of a change: %s", error)
        self._alarms.changed(self._id)


class Alarms:
    """Calls the handlers of a namespace when their alarms go off, while this process has the lock to do so.

    Args:
        folder: the folder of the namespace.
        target: gives the object of an id and a name.
        clock: gives the time in seconds since the epoch.
        timeout: how many seconds to wait for a lock of the index.
    """

    def __init__(
        self, folder: Path, target: Callable[[str, str | None], Target], *, clock: Clock, timeout: float
    ) -> None:
        self.index = AlarmIndex(folder, timeout)
        self.clock = clock
        self._target = target
        self._lock = FileLock(folder / "alarms.lock")
        self._retries: dict[str, tuple[int, float]] = {}  # how many so far, and when the next is, by id
        self._running: set[str] = set()
        self._thread: LoopThread | None = None

    def start(self) -> None:
        """Begin to look, in a thread beside the program."""
        if self._thread is None:
            self._thread = LoopThread(self._step)
            self._thread.start()

    def stop(self) -> None:
        """Look no more. A handler that runs is not waited for, and called again at the next start."""
        if self._thread is not None:
            self._thread.stop(timeout=1)
            self._thread = None
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew, without the thread and the lock, which are the parent's."""
        self._lock = self._lock.forgotten()
        self._running, self._retries = set(), {}
        if self._thread is not None:
            self._thread = None
            self.start()

    def changed(self, identifier: str) -> None:
        """Take note that an alarm was set or deleted: no failure of the one before counts any more."""
        self._retries.pop(identifier, None)
        self.start()
        if self._thread is not None:
            self._thread.wake()

    async def _step(self) -> float:
        """Begin the handlers that are due; return in how many seconds the next may be."""
        try:
            if not self._lock.acquire():
                return _LOOK
            entries = await off_loop(self.index.all)
        except StorageError as error:
            _logger.warning("alarms are not looked at: %s", error)
            return _LOOK
        pause = _LOOK
        for identifier, when, name in entries:
            if identifier in self._running:
                continue
            wait = max(when / 1e9, self._retries.get(identifier, (0, 0.0))[1]) - self.clock()
            if wait <= 0:
                self._running.add(identifier)
                beside(self._call(identifier, name))
            else:
                pause = min(pause, wait)
        return pause

    async def _call(self, identifier: str, name: str | None) -> None:
        try:
            await self._call_if_due(identifier, self._target(identifier, name))
        except Exception:
            _logger.exception("the alarm of object %s could not be run", name or identifier)
            self._retries[identifier] = 0, self.clock() + _RETRIES[0]
        finally:
            self._running.discard(identifier)
            if self._thread is not None:
                self._thread.wake()

    async def _call_if_due(self, identifier: str, target: Target) -> None:
        when = await off_loop(target.due)
        if when is None or when / 1e9 > self.clock():
            await off_loop(self.index.exactly, identifier, when)
            return
        count, _ = self._retries.get(identifier, (0, 0.0))
        target.begin(when)
        raised = await _raised(target, Alarm(datetime.fromtimestamp(when / 1e9, UTC), count))
        unchanged = target.end() and await off_loop(target.due) == when
        if raised is not None:
            _logger.error("the alarm handler of object %s raised", identifier, exc_info=raised)
            if unchanged and count < len(_RETRIES):
                pause = _RETRIES[count] * (1 + random.uniform(0, _JITTER))  # noqa: S311 - no secret
                self._retries[identifier] = count + 1, self.clock() + pause
                return
        self._retries.pop(identifier, None)
        if unchanged:
            await off_loop(target.forget, when)


async def _raised(target: Target, alarm: Alarm) -> Exception | None:
    """Call the handler, and return what it raised."""
    try:
        made = await off_loop(target.fire, alarm)
        if inspect.isawaitable(made):
            await made
    except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
        return error
    return None


def _seconds(when: datetime | float) -> float:
    match when:
        case datetime() if when.tzinfo is not None:
            seconds = when.timestamp()
        case int() | float() if not isinstance(when, bool) and math.isfinite(when):
            seconds = float(when)
        case _:
            raise InvalidInputError(
                f"set_alarm() got {when!r:.200}: pass an aware datetime, or seconds since the epoch"
            )
    if not 0 < seconds < _LATEST:
        raise InvalidInputError(f"set_alarm() got {when!r:.200}: the time must lie between 1970 and 2189")
    return seconds
