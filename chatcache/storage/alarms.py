"""Alarms: when an object is to be called, and the calls.

The alarm of an object is a row of its own file, so it is set, undone and lost with the writes around it. Which objects
of a namespace have one stands in the index, ``metadata.sqlite`` beside them. The index may name a time that is too
early, and is put right then, but never one that is too late, whatever is killed: it is told of an alarm before the
object's file is committed, and of a later time or of none only while the object is locked.

One process at a time calls the handlers of a namespace: the one that has the lock of ``alarms.lock``, which ends with
it. A handler is called at least once: an alarm is deleted when its handler returned and what it wrote is on disk. One
that raises is called again after 2, 4, 8, 16, 32 and 64 seconds, each with up to a quarter more, and then no more, as
in workerd.
"""

import inspect
import logging
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from weakref import WeakMethod

from chatcache._bridge import Lock, LoopThread, beside
from chatcache.clock import Clock
from chatcache.errors import InvalidInputError, shown

from .database import AT_WORK, explained
from .locks import FileLock
from .opening import Schema, connect
from .patience import Patience
from .storage import Storage

__all__ = ["Alarm", "AlarmIndex", "Alarms", "ObjectSchedule", "Target"]

_logger = logging.getLogger("chatcache")

_SOONER = (
    "INSERT INTO _cf_ALARM VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
    "scheduled_time = min(scheduled_time, excluded.scheduled_time), "
    "actor_name = coalesce(actor_name, excluded.actor_name)"
)
_EXACTLY = "UPDATE _cf_ALARM SET scheduled_time = ? WHERE actor_id = ?"
_NOT = "DELETE FROM _cf_ALARM WHERE actor_id = ?"
_CREATE = (
    "CREATE TABLE IF NOT EXISTS _cf_ALARM "
    "(actor_id TEXT PRIMARY KEY, scheduled_time INTEGER, actor_name TEXT) WITHOUT ROWID"
)
_SCHEMA = Schema(
    creates=(_CREATE,),
    writes=(_SOONER, _EXACTLY, _NOT),
)
_DUE = "SELECT actor_id, scheduled_time, actor_name FROM _cf_ALARM WHERE scheduled_time <= ? ORDER BY scheduled_time"
_NEXT = "SELECT min(scheduled_time) FROM _cf_ALARM WHERE scheduled_time > ?"
_RETRIES = (2, 4, 8, 16, 32, 64)  # seconds
_JITTER = 0.25
_LOOK = 1.0  # seconds at most between looks at the index, which other processes write to as well
_MOST = 64  # handlers at once
_BROKEN = 30.0  # seconds
_CORRECTED = 1.0  # seconds at most for which a correction waits for the index: it holds up the writers of an object
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = (datetime(2189, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()  # workerd's, the end of its clock


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


@dataclass(frozen=True, slots=True)
class _Retry:
    """That a handler raised.

    Attributes:
        when: the alarm that it was called for.
        count: how often it raised for it.
        after: the time before which it is not called again, in seconds since the epoch.
    """

    when: int
    count: int
    after: float


class Target(Protocol):
    """An object, as far as its alarm is concerned."""

    path: Path
    storage: Storage

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
        self._one = Lock()  # threads of one process need not wait for each other by trying again
        self._write_lock = Patience.of(self._path, "write")
        self._read_lock = Patience.of(self._path, "exclusive")

    def forgotten(self) -> "AlarmIndex":
        """Return the same index without the lock of the parent's threads: for a child process."""
        return AlarmIndex(self._path.parent, self._timeout)

    def exists(self) -> bool:
        """Return whether any object ever had an alarm."""
        return self._path.exists()

    def sooner(self, identifier: str, when: int, name: str | None) -> None:
        """Note an alarm, unless an earlier one is noted. It waits for no lock: an object's commit tries again."""
        with self._connection() as connection:
            connection.execute(_SOONER, (identifier, when, name))

    def correct(self, identifier: str, due: Callable[[], int | None]) -> None:
        """Note what is due, asked for while nobody else notes anything."""

        def attempt() -> None:
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                when = due()
                if when is None:
                    connection.execute(_NOT, (identifier,))
                else:
                    connection.execute(_EXACTLY, (when, identifier))
                connection.execute("COMMIT")
            self._write_lock.note_free()

        self._write_lock.try_until_free(attempt, min(self._timeout, _CORRECTED))

    def due(self, now: int) -> tuple[list[tuple[str, int, str | None]], int | None]:
        """Return id, time and name of each object whose alarm is due, the earliest first, and the time of the next."""
        if not self.exists():
            return [], None

        def attempt() -> tuple[list[tuple[str, int, str | None]], int | None]:
            with self._connection() as connection:
                ((following,),) = connection.execute(_NEXT, (now,))
                due = connection.execute(_DUE, (now,)).fetchall()
            self._read_lock.note_free()
            return due, following

        return self._read_lock.try_until_free(attempt, self._timeout)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for a moment: alarms are rare, and one that is kept would have to be closed for a fork."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with AT_WORK, self._one, closing(connect(self._path, schema=_SCHEMA, make=True)) as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise explained(error, self._path) from error


class ObjectSchedule:
    """The schedule of one object: see `chatcache.storage.turns.Schedule`."""

    def __init__(self, alarms: "Alarms", identifier: str) -> None:
        self._alarms = alarms
        self._id = identifier
        self.name: str | None = None

    def time_of(self, when: datetime | float) -> int:
        """Return a time in nanoseconds since the epoch, in whole milliseconds, not before now."""
        return max(_milliseconds(when), int(self._alarms.clock() * 1000)) * 1_000_000

    def before(self, when: int) -> None:
        """Note an alarm that is about to be committed."""
        self._alarms.index.sooner(self._id, when, self.name)

    def after(self, _when: int | None) -> None:
        """Have it looked at."""
        self._alarms.changed(self._id)


class Alarms:
    """Calls the handlers of a namespace when their alarms go off, while this process has the lock to do so.

    Args:
        folder: the folder of the namespace.
        target: a method that gives the object of an id and a name. Nobody is called once its owner is gone, which
            this does not keep alive.
        clock: gives the time in seconds since the epoch.
        timeout: how many seconds to wait for a lock of the index.
    """

    _thread: LoopThread | None

    def __init__(
        self, folder: Path, target: Callable[[str, str | None], Target], *, clock: Clock, timeout: float
    ) -> None:
        self.index = AlarmIndex(folder, timeout)
        self.clock = clock
        self._target = WeakMethod(target)
        self._lock = FileLock(folder / "alarms.lock")
        self._begin()

    def start(self) -> None:
        """Begin to look, in a thread beside the program."""
        with self._starting:
            self._stopped = False
            if self._thread is None:
                thread = LoopThread(self._step)
                if thread.start():
                    self._thread = thread

    def stop(self) -> None:
        """Look no more, until the next start. A handler that runs is not waited for, and is called again then."""
        with self._starting:
            self._stopped = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(timeout=1)
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew, without the thread and the lock, which are the parent's."""
        self._lock = self._lock.forgotten()
        started = self._thread is not None
        self.index = self.index.forgotten()
        self._begin()
        if started:
            self.start()

    def changed(self, identifier: str) -> None:
        """Take note that an alarm was set or deleted: no failure of the one before counts any more."""
        self._retries.pop(identifier, None)
        if not self._stopped:
            self.start()
            self._wake()

    def _begin(self) -> None:
        self._starting = Lock()
        self._stopped = False
        self._thread = None
        self._running: dict[str, object] = {}  # tasks, which nobody else holds
        self._retries: dict[str, _Retry] = {}
        self._broken: dict[str, float] = {}  # when objects that could not be used are tried again
        self._said = ""

    def _now(self) -> int:
        """Return the time in nanoseconds since the epoch, in whole milliseconds."""
        return int(self.clock() * 1000) * 1_000_000

    def _wake(self) -> None:
        thread = self._thread
        if thread is not None:
            thread.wake()

    async def _step(self) -> float:
        """Look for what is due; return in how many seconds to look again."""
        if self._target() is None:
            self.stop()
            return _LOOK
        try:
            return await self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be the last look
            if self._said != str(error):
                self._said = str(error)
                _logger.warning("alarms are not looked at: %s", error)
            return _LOOK

    async def _look(self) -> float:
        """Begin the handlers that are due; return in how many seconds the next may be."""
        found = await LoopThread.call(self._due)
        if found is None:
            return _LOOK
        entries, following = found
        now = self.clock()
        for identifier, _, name in entries:
            idle = identifier not in self._running and self._broken.get(identifier, now) <= now
            if idle and len(self._running) < _MOST:
                self._running[identifier] = beside(self._look_at(identifier, name))
        times = [retry.after for retry in self._retries.values() if retry.after > now]
        if following is not None:
            times.append(following / 1e9)
        return min([_LOOK, *(max(0.0, time - now) for time in times)])

    def _due(self) -> tuple[list[tuple[str, int, str | None]], int | None] | None:
        """Return what is due, as `AlarmIndex.due`; None where there is no alarm, or another process calls handlers."""
        if not self.index.exists() or not self._lock.acquire():
            return None
        if self._stopped:
            self._lock.release()
            return None
        return self.index.due(self._now())

    async def _look_at(self, identifier: str, name: str | None) -> None:
        try:
            target = self._target()
            if target is not None and await self._call_if_due(identifier, target(identifier, name)):
                self._wake()
            self._broken.pop(identifier, None)
        except Exception:
            _logger.exception("the alarm of object %s could not be looked at", name or identifier)
            self._broken[identifier] = self.clock() + _BROKEN
        finally:
            del self._running[identifier]

    async def _call_if_due(self, identifier: str, target: Target) -> bool:
        """Call the handler, or correct the index; return whether there was anything to do."""
        now, retry = self.clock(), self._retries.get(identifier)  # before the file is read, which may change after it
        when = await LoopThread.call(target.due)
        if retry is not None and retry.when != when:  # it was set anew
            self._retries.pop(identifier, None)
            retry = None
        if when is None or when > self._now():
            await LoopThread.call(self._correct, identifier, target)
        elif retry is None or retry.after <= now:
            await self._call(identifier, target, when, 0 if retry is None else retry.count)
        else:
            return False
        return True

    async def _call(self, identifier: str, target: Target, when: int, count: int) -> None:
        thread = self._thread
        if thread is None:
            return
        try:
            raised = await thread.attempt(_fire(target, when, count))
        finally:
            unchanged = target.end()
        unchanged = unchanged and await LoopThread.call(target.due) == when
        if raised is not None:
            _logger.error("the alarm handler of %r raised", target, exc_info=raised)
            if unchanged and count < len(_RETRIES):
                pause = _RETRIES[count] * (1 + random.uniform(0, _JITTER))  # noqa: S311 - no secret
                self._retries[identifier] = _Retry(when, count + 1, self.clock() + pause)
                return
        self._retries.pop(identifier, None)
        if unchanged:
            await LoopThread.call(target.forget, when)

    def _correct(self, identifier: str, target: Target) -> None:
        """Have the index say what the file of an object says, while nobody writes to that."""

        def correct(_transaction: object = None) -> None:
            self.index.correct(identifier, target.due)

        if target.path.exists():
            target.storage.transaction(correct)
        else:
            correct()


async def _fire(target: Target, when: int, count: int) -> None:
    """Call the handler, and see that what it wrote is on disk."""
    alarm = Alarm(_EPOCH + timedelta(microseconds=when // 1000), count)
    await LoopThread.call(target.begin, when)
    try:
        made = await LoopThread.call(target.fire, alarm)
        if inspect.isawaitable(made):
            await made
    finally:
        await target.storage.aflush()


def _milliseconds(when: datetime | float) -> int:
    microseconds = 0
    match when:
        case datetime() if when.utcoffset() is not None:
            microseconds = (when - _EPOCH) // timedelta(microseconds=1)
        case int() | float() if type(when) is not bool and 0 < when < _LATEST:
            microseconds = round(when * 1e6)
    if not 0 < microseconds < _LATEST * 1e6:
        raise InvalidInputError(
            f"set_alarm() got {shown(when)}: pass an aware datetime or seconds since 1970, of a time before 2189"
        )
    return microseconds // 1000
