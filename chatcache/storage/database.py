"""The SQLite file of an object: a connection to read by, one to write by, and one for long reads in each loop.

Reads of a few rows happen in place, in both colours, on a connection of ``sqlite3`` that all threads share: a point
read takes microseconds, a thread hop a hundred. What may take longer is awaited through ``aiosqlite``, on a connection
for each event loop. Whatever is written goes through one connection (see `chatcache.storage.turns`), so that a reader
never waits for a writer's disk.

Files are made when something is first written: reading from an object that was never written to touches no disk. A
process holds the connections of so many objects only; those that were opened first and are idle are closed, and opened
again when they are used.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet, finalize, ref

import aiosqlite

from chatcache._bridge import (
    Gate,
    Lock,
    PerLoop,
    RLock,
    Worker,
    born_daemon,
    finish_apart,
    forbidden_errors,
    get_ident,
    learn_from,
    off_loop,
    reads_apart,
)
from chatcache.clock import monotonic
from chatcache.errors import CorruptStorageError, InvalidInputError, StorageError
from chatcache.interrupts import raise_interrupt, suppress

from .descriptors import descriptor_limit, is_at_the_limit, share_of_descriptors
from .opening import Immutable, connect, limit_rows
from .patience import Patience, is_busy
from .recent import Recent, WalIndex
from .rows import SCHEMA, has_schema, run_query, write_name
from .stall import Stall

__all__ = ["AT_WORK", "SHRINKS", "Database", "Durability", "explained"]

A = TypeVar("A")
R = TypeVar("R")
Query = Callable[[sqlite3.Connection, A], R]

_PAGE = "PRAGMA page_size = 16384"  # an answer of 2 kB stays in one page; of workerd's 4096 bytes it would take two
SHRINKS = "PRAGMA auto_vacuum = INCREMENTAL"  # of no effect on a file with tables before it is vacuumed
_LOG = "PRAGMA journal_size_limit = 33554432"  # bytes that the log keeps of the disk after a larger transaction
_FOREIGN_KEYS = "PRAGMA foreign_keys = ON"  # as workerd's SQLite is built; for the tables of storage.sql
_FETCHED_AT_ONCE = 64  # rows
_END_WITHIN = 1.0  # seconds: nothing that is closed when a program ends may hold it up
_LOOK = 0.1  # seconds between looks at whether the file that is read is still there
_MOST_OPEN = 24  # objects with connections
_DESCRIPTORS = 8  # that one of them has at most


class Durability(Enum):
    """What a commit waits for."""

    FULL = "full"
    """The disk: nothing that was committed is lost, whatever happens."""
    NORMAL = "normal"
    """The operating system: a crash of the program loses nothing, one of the machine may lose the last commits."""

    @classmethod
    def parse(cls, value: str) -> "Durability":
        """Return the durability of a name.

        Raises:
            InvalidInputError: there is no such one.
        """
        try:
            return cls(value)
        except ValueError as error:
            raise_interrupt(error)
            raise InvalidInputError(f"durability {value!r:.200}: use 'full' or 'normal'") from None


class _Connections:
    """What one file is read and written by in this process, and the locks of those who do."""

    def __init__(self) -> None:
        self.reading = Lock()
        self.writing = RLock()
        self.reader: sqlite3.Connection | None = None
        self.writer: sqlite3.Connection | None = None
        self._ended_by: int | None = None  # the thread in which the program ends

    def close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.reader = None

    def close_writer(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None

    def close_for_good(self) -> None:
        """Close what nobody uses any more, or what is open when the program ends: then it is not opened again."""
        self._ended_by = get_ident()
        with AT_WORK:
            for lock, close in ((self.writing, self.close_writer), (self.reading, self.close_reader)):
                if lock.acquire(timeout=_END_WITHIN):
                    try:
                        close()
                    finally:
                        lock.release()

    def check_open(self, path: Path) -> None:
        """Raise `StorageError` where the program has ended; a daemon thread ends instead, and quietly."""
        if self._ended_by == get_ident():
            raise StorageError(f"{path} is closed, since the program has ended: use it before, or in an exit handler")
        if self._ended_by is not None:
            raise SystemExit


class Database:
    """One SQLite file in WAL mode; opened when first used, and again after `close`.

    Every method raises `StorageError` where the file cannot be opened, read or written, and its subclass
    `CorruptStorageError` where it is damaged.

    Args:
        path: the file.
        durability: what a commit waits for.
        timeout: how many seconds to wait for a lock that somebody else holds.

    Attributes:
        name: the name of the object, to be kept in the file, if it is known.
        afterwards: what the connection to write by is to run as soon as its transaction is over.
        writing: the lock of the connection to write by. It is taken by a ``with`` in the function that needs it, not in
            a context manager of ours, where a Ctrl-C could leave it taken. Nobody holds it while waiting for a lock of
            the file.
        write_lock: the patience of all who need the file's write lock in this process.
    """

    afterwards: str | None
    _is_named: bool

    def __init__(self, path: Path, durability: Durability, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.name: str | None = None
        self._longest_row = 0
        # not a method, which would keep this object alive as long as it is one of its attributes
        self._connect = partial(connect, path, f"PRAGMA synchronous = {durability.value}", schema=SCHEMA)
        self.write_lock = Patience.of(path, "write")
        self._read_lock = Patience.of(path, "exclusive")
        self._stall = Stall.of(path, self._connect, AT_WORK)
        self._begin()
        with _BEGINNING:
            _DATABASES.add(self)

    def allow_rows(self, longest_row: int) -> None:
        """Read rows of so many bytes, too. Those who share this object may allow different numbers."""
        if longest_row > self._longest_row:
            self._longest_row = longest_row
            reader = self._connections.reader
            if reader is not None:
                with suppress(sqlite3.ProgrammingError):  # it was closed just now
                    limit_rows(reader, longest_row)

    def get(self, key: str) -> bytes | None:
        """Return the value in the row of a key, or None."""
        if monotonic() > self._looks_at:
            self._look_for_the_file()
        value = self._recent.get(key)
        if value is None and not self._recent.lacks(key):
            try:
                with self._reading:
                    value = self._read(self._recent.read, key, None)
            except StorageError as error:
                value = self._read_again(error, self._recent.read, key, None)
        return value

    async def aget(self, key: str) -> bytes | None:
        """Awaiting twin of `get`."""
        if monotonic() > self._looks_at and not self._may_look():
            return await off_loop(self.get, key)
        value = self._recent.get(key)
        if value is None and not self._recent.lacks(key):
            value = await self.aread(self._recent.read, key, None)
        return value

    def read(self, query: Query[A, R], argument: A, absent: R) -> R:
        """Return what a query of a few rows gives for its argument, or `absent` where nothing was ever written."""
        self._look_for_the_file()
        try:
            with self._reading:
                return self._read(query, argument, absent)
        except StorageError as error:
            return self._read_again(error, query, argument, absent)

    def _read_again(self, error: StorageError, query: Query[A, R], argument: A, absent: R) -> R:
        """Read what could not be read because the file was locked, once it is free; raise any other error."""
        if not is_busy(error):
            raise error

        def attempt() -> R:
            with self._reading:
                found = self._read(query, argument, absent)
            self._read_lock.note_free()
            return found

        return self._read_lock.try_until_free(attempt, self.timeout)

    async def aread(self, query: Query[A, R], argument: A, absent: R) -> R:
        """Awaiting twin of `read`: in place, unless that is forbidden, a thread is reading, or the file is locked."""
        if self._may_look() and not self._reading.locked():
            try:
                with self._reading:  # no `acquire`, after which a signal handler's exception would leave it taken
                    return self._read(query, argument, absent)
            except Exception as error:  # noqa: BLE001 - it is raised, unless it is no fault to read in a thread
                if not is_busy(error):
                    learn_from(error)
        return await off_loop(self.read, query, argument, absent)

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query, any number of them."""
        return self.read(run_query, (sql, parameters), [])

    async def afetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Awaiting twin of `fetch`, off the loop."""
        if await self.aread(_is_there, None, absent=False) is False:
            return []
        try:
            async with self._loops.turn() as reader:
                connection = await reader.connection(self._longest_row)
                return [tuple(row) for row in await connection.execute_fetchall(sql, parameters)]
        except (ValueError, sqlite3.ProgrammingError) as error:  # the connection was closed meanwhile
            raise_interrupt(error)
            return self.fetch(sql, parameters)
        except (sqlite3.Error, OSError) as error:
            if not is_busy(error) and getattr(error, "sqlite_errorname", "") != "SQLITE_TOOBIG":
                raise self._explained(error) from error
            return await off_loop(self.fetch, sql, parameters)  # whose connection may read longer rows

    @contextmanager
    def writer(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to write by to who holds the lock `writing`; it may be in the middle of a transaction."""
        self._stall.check()
        try:
            writer = self._connections.writer
            if writer is None or (not writer.in_transaction and self._is_gone()):
                writer = self._create()
            if self.afterwards is not None and not writer.in_transaction:
                writer.execute(self.afterwards)
                self.afterwards = None
            if not self._is_named and self.name is not None and not writer.in_transaction:
                write_name(writer, self.name)
                self._is_named = True
            yield writer
        except _failures() as error:
            raise self._explained(error) from error

    def checkpoint(self) -> None:
        """Bring what was committed from the log into the file, as far as nobody has to wait for it."""
        if not self.exists():  # to connect would make it
            return
        try:
            with AT_WORK, closing(self._connect()) as connection:  # so that the one to write by is free for others
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except _failures() as error:
            raise explained(error, self.path) from error

    def close(self) -> None:
        """Release the file. What is used afterwards opens it again."""
        with self.writing, self._reading:
            self._release()

    def close_if_idle(self) -> bool:
        """Release the file unless something is under way; return whether it was released."""
        if not self.writing.acquire(blocking=False):
            return False
        try:
            if not self.is_idle() or not self._reading.acquire(blocking=False):
                return False
            try:
                self._release()
            finally:
                self._reading.release()
            return True
        finally:
            self.writing.release()

    def exists(self) -> bool:
        """Return whether there is the file."""
        try:
            return _identity(self.path) is not None
        except _failures() as error:
            raise explained(error, self.path) from error

    def is_open(self) -> bool:
        """Return whether there is a connection."""
        return self._connections.writer is not None or self._connections.reader is not None

    def is_idle(self) -> bool:
        """Return whether nothing is under way that needs the connection to write by."""
        return True

    def stop_writers(self) -> bool:
        """Let nobody begin to write; return whether nobody else is writing any more."""
        return True

    def go_on(self) -> None:
        """Let writers go on."""

    def before_fork(self) -> None:
        """Let nobody write any more."""
        self.writing.acquire()

    def at_fork(self) -> None:
        """Close everything, and keep it closed: SQLite's own record of the locks it has would be wrong in the child."""
        self._reading.acquire()
        self._recent.begin(None)
        self._connections.close_reader()
        self._connections.close_writer()
        self._stop_workers()

    def after_fork_in_parent(self) -> None:
        """Let it be opened again."""
        self._loops.clear()
        self._reading.release()
        self.writing.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the locks of the parent's threads are of no use here."""
        self._end.detach()
        self._begin()

    def _read(self, query: Query[A, R], argument: A, absent: R) -> R:
        if self._stall.error is not None:  # most reads save the call
            self._stall.check()
        try:
            connection = self._connections.reader or self._reopened()
            return absent if connection is None else query(connection, argument)
        except _failures() as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> StorageError:
        """Return an error as one that says what to do, and have no other caller wait where SQLite waited in vain."""
        made = explained(error, self.path)
        made.__cause__ = error
        self._stall.note(made)
        return made

    def _begin(self) -> None:
        self._connections = _Connections()
        self._end = finalize(self, self._connections.close_for_good)
        self._reading, self.writing = self._connections.reading, self._connections.writing
        self._recent = Recent()
        self._file: tuple[int, ...] | None = None
        self._read_file: tuple[int, ...] | None = None
        self._looks_at = 0.0
        self._is_named = False
        self.afterwards = None
        self.worker = Worker()
        self._loops = PerLoop(partial(_LoopReader, partial(self._connect, factory=_LongReads)))

    def _is_gone(self) -> bool:
        """Whether the file that was opened was deleted or replaced since: what is written to it would be lost."""
        identity = _identity(self.path)
        return identity is None or identity != self._file

    def _may_look(self) -> bool:
        """Look for the file, unless a tool forbids that on the thread of a loop; return whether it does not."""
        if not reads_apart():
            try:
                self._look_for_the_file()
            except Exception as error:  # noqa: BLE001 - it is raised, unless it is such a tool's
                learn_from(error)
        return not reads_apart()

    def _look_for_the_file(self) -> None:
        """Give up what is read by, from time to time, where the file was deleted or replaced by somebody else."""
        now = monotonic()
        if now > self._looks_at:
            self._looks_at = now + _LOOK
            if self._connections.reader is not None and not self._is_read(self._connections.reader):
                with self._reading:
                    self._release_reader()

    def _is_read(self, reader: sqlite3.Connection) -> bool:
        """Whether the file that is read is still there. One that cannot be looked at is not: to open it says why."""
        try:
            return self._read_file == _identity(self.path, whole=isinstance(reader, Immutable))
        except forbidden_errors() as error:
            raise explained(error, self.path) from error
        except OSError as error:
            raise_interrupt(error)
            return False

    def _release(self) -> None:
        self._release_reader()
        self._connections.close_writer()
        self._stop_workers()

    def _stop_workers(self) -> None:
        self.worker.stop()

    def _release_reader(self) -> None:
        self._recent.begin(None)
        self._loops.clear()
        self._connections.close_reader()

    def _reopened(self) -> sqlite3.Connection | None:
        """Open the file to read by, if something was ever written to it."""
        self._connections.check_open(self.path)
        # before, so that it is noticed where another one takes its place just now
        files = {whole: _identity(self.path, whole=whole) for whole in (False, True)}
        if files[False] is None:
            return None
        connection = self._connect()
        try:
            ours = has_schema(connection)
        except BaseException:
            connection.close()
            raise
        if not ours:
            connection.close()
            return None
        is_immutable = isinstance(connection, Immutable)
        self._connections.reader, self._read_file = connection, files[is_immutable]
        limit_rows(connection, self._longest_row)  # once `allow_rows` sees the connection
        self._recent.begin(None if is_immutable else WalIndex.beside(self.path))
        self._stay_few()
        return connection

    def _create(self) -> sqlite3.Connection:
        """Open the file to write to, and make it where there is none, readable for its owner only."""
        self._connections.check_open(self.path)
        self._connections.close_writer()
        with self._reading:  # what it reads by may be a file that was deleted
            self._release_reader()
        self.path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        # whoever writes the first page has seen none; on a file with pages it would wait for the lock of a writer
        made = [_PAGE, SHRINKS] if not self.path.exists() or self.path.stat().st_size == 0 else [_PAGE]
        file = _identity(self.path)
        connection = self._connect(*made, "PRAGMA journal_mode = WAL", _FOREIGN_KEYS, _LOG, make=True)
        self._file, self._is_named = file or _identity(self.path), False
        self._connections.writer = connection
        self._stay_few()
        return connection

    def _stay_few(self) -> None:
        """Close what was opened long ago and is idle, where this process holds the files of many objects."""
        with _COUNTING:
            if self not in (held() for held in _OPEN):
                _OPEN.append(ref(self))
            for _ in range(len(_OPEN) - share_of_descriptors(_DESCRIPTORS, _MOST_OPEN)):
                oldest = _OPEN.popleft()
                database = oldest()
                if database is not None and (database is self or not database.close_if_idle()):
                    _OPEN.append(oldest)


class _LoopReader:
    """The connection through which the tasks of one event loop read much."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: aiosqlite.Connection | None = None
        self._end: finalize[..., _LoopReader] | None = None

    async def connection(self, longest_row: int) -> aiosqlite.Connection:
        if self._connection is None:
            opened = await off_loop(self._open, longest_row)  # aiosqlite leaves a thread behind where opening fails
            made = partial(aiosqlite.Connection, lambda: opened, _FETCHED_AT_ONCE)
            connection = await off_loop(born_daemon, made)
            self._end = finalize(self, finish_apart, connection.close)
            self._connection = await connection
        return self._connection

    def forget(self) -> None:
        """Leave its thread alone, which is in another process."""
        if self._end is not None:
            self._end.detach()

    def _open(self, longest_row: int) -> sqlite3.Connection:
        with AT_WORK:
            opened = self._connect()
            limit_rows(opened, longest_row)
            _LONG_READS.add(opened)
            _READERS.add(self)
            return opened


class _LongReads(sqlite3.Connection):
    """What ``aiosqlite`` reads by in its thread. A fork waits until that is not at work."""

    def execute(self, *query: Any) -> Any:
        with AT_WORK:
            return _Fetched(super().execute(*query).fetchall())

    def close(self) -> None:
        with AT_WORK:
            super().close()


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What is asked of a cursor afterwards."""

    rows: list[Any]

    def fetchall(self) -> list[Any]:
        return self.rows


AT_WORK = Gate()
"""Entered by whoever uses SQLite without holding a lock of a `Database`; a fork waits until it is empty."""

_OPEN: "deque[ref[Database]]" = deque()  # in the order in which they were opened
_COUNTING = Lock()  # of `_OPEN`
_DATABASES: WeakSet[Database] = WeakSet()
_BEGINNING = Lock()  # of `_DATABASES`; held as long as a fork takes
_LONG_READS: WeakSet[sqlite3.Connection] = WeakSet()  # added to within `AT_WORK`
_READERS: WeakSet[_LoopReader] = WeakSet()  # as well
_FORKING: list[Database] = []  # while a fork is under way
_ONE_FORK = Lock()


def _before_fork() -> None:
    """Wait until SQLite is at work nowhere: a child would wait forever for a lock that a thread of its parent has."""
    _ONE_FORK.acquire()
    _BEGINNING.acquire()
    _FORKING.extend(_DATABASES)
    until = monotonic() + max((database.timeout for database in _FORKING), default=0)
    while not all(database.stop_writers() for database in _FORKING) and monotonic() < until:
        for database in _FORKING:  # one of them may wait for another
            database.go_on()
    # in the order in which locks are taken everywhere: to write, the gate, to read
    for database in _FORKING:
        database.before_fork()
    AT_WORK.close()
    for connection in [*_LONG_READS]:
        connection.close()  # whoever reads by it next is told
    for database in _FORKING:
        database.at_fork()


def _after_fork_in_parent() -> None:
    AT_WORK.open()
    while _FORKING:
        _FORKING.pop().after_fork_in_parent()
    _BEGINNING.release()
    _ONE_FORK.release()


def _after_fork_in_child() -> None:
    for reader in [*_READERS]:
        reader.forget()
    while _FORKING:
        _FORKING.pop().after_fork_in_child()
    _BEGINNING.release()
    _ONE_FORK.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _is_there(_connection: sqlite3.Connection, _argument: None) -> bool:
    return True


def _identity(path: Path, *, whole: bool = False) -> tuple[int, ...] | None:
    """Return what a file is whatever its name, or None where there is none.

    Args:
        path: the file.
        whole: also what changes when it is written to, for a reader that SQLite does not tell.
    """
    try:
        found = path.stat()
        if not whole:
            return found.st_dev, found.st_ino
        log = path.with_name(f"{path.name}-wal")
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, log.stat().st_size if log.exists() else 0
    except FileNotFoundError:
        return None


def _reason(error: Exception, path: Path) -> str:
    """Return what an error says, without the path if it is that of the message."""
    if isinstance(error, OSError) and error.strerror and error.filename == str(path):
        return f"[Errno {error.errno}] {error.strerror}"
    return str(error)


def _failures() -> tuple[type[Exception], ...]:
    """Return the classes of errors that `explained` explains."""
    return sqlite3.Error, OSError, *forbidden_errors()


def explained(error: Exception, path: Path) -> StorageError:  # noqa: C901, PLR0911 - a table, a case a row
    """Return an error of SQLite or of the system as one that says what to do."""
    raise_interrupt(error)
    if isinstance(error, forbidden_errors()):
        return StorageError(
            f"{path} cannot be read on the thread of the event loop, because blockbuster forbids blocking calls there "
            f"({error}): use the async method, such as `await cache.acall(...)`"
        )
    elsewhere = "use another folder"
    if is_at_the_limit():
        return StorageError(
            f"{path} cannot be opened ({error}): this process has as many files open as it may, {descriptor_limit()}; "
            "close objects that are not needed, or raise the limit (ulimit -n)"
        )
    match getattr(error, "sqlite_errorname", type(error).__name__):
        case "SQLITE_NOTADB" | "SQLITE_CORRUPT" | "SQLITE_CORRUPT_INDEX" | "SQLITE_CORRUPT_VTAB" | "OperationalError":
            return CorruptStorageError(
                f"{path} is no SQLite database, or a damaged one ({error}): move it away to begin anew, or {elsewhere}"
            )
        case "SQLITE_BUSY" | "SQLITE_BUSY_SNAPSHOT" | "SQLITE_BUSY_RECOVERY" | "SQLITE_LOCKED":
            return StorageError(
                f"{path}: another process holds its write lock ({error}): find which, or pass a longer timeout; if "
                "none does, its file system has no locks"
            )
        case "SQLITE_PROTOCOL":
            return StorageError(
                f"{path}: another process has held the locks of its readers for ten seconds ({error}): find which, it "
                "may be stopped; if none does, its file system has no locks"
            )
        case "SQLITE_PERM" | "SQLITE_IOERR_LOCK" | "SQLITE_IOERR_SHMLOCK" | "SQLITE_IOERR_RDLOCK":
            return StorageError(
                f"no lock can be taken on {path} ({error}): its file system may have none, as some over a network; "
                f"{elsewhere}"
            )
        case str(name) if name.startswith("SQLITE_CONSTRAINT"):
            return StorageError(f"{path}: {error} when it was to be committed: nothing of it was kept")
        case "SQLITE_ERROR":
            return StorageError(
                f"{path} does not hold what it should ({error}): undo what another program changed there, "
                f"or {elsewhere}"
            )
        case "SQLITE_TOOBIG":
            return CorruptStorageError(
                f"{path} holds a longer row than is read ({error}): pass ObjectNamespace(longest_row=) as it was "
                f"written with, or else move it away to begin anew, or {elsewhere}"
            )
        case "SQLITE_FULL":
            return StorageError(f"{path} cannot grow, the disk is full ({error}): make room, or {elsewhere}")
        case "PermissionError" | "SQLITE_READONLY" | "SQLITE_READONLY_DIRECTORY" | "SQLITE_CANTOPEN":
            return StorageError(
                f"{path} cannot be opened or written ({_reason(error, path)}): let this user read the file and its "
                f"folder (and write them, to record), or {elsewhere}"
            )
        case _:
            return StorageError(
                f"{path} cannot be used ({_reason(error, path)}): make its folder one to write to, or {elsewhere}"
            )
