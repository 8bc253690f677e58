"""The SQLite file of one object, for blocking and awaiting callers.

Blocking callers, of any thread, share one connection of ``sqlite3`` behind a lock. Awaiting callers read through the
same connection in place: a point read takes microseconds, a thread hop a hundred. They write, which waits for the
disk, through a connection of ``aiosqlite``, one for each event loop, a statement at a time; SQLite itself keeps the two
kinds of writers apart.

The draft of this design had one connection for both. Then a write that awaits its commit holds the connection while
other code runs, and where its loop is stopped in that moment (``run_until_complete`` returned, a notebook's cell ended)
nobody can use the file any more. With a connection a loop, and no transaction that is open while a loop may stop, a
stopped loop holds up nobody but itself.

Files are made when something is first written: reading from an object that was never written to touches no disk.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet, finalize

import aiosqlite

from chatcache._bridge import Lock, PerLoop, born_daemon, finish_apart, off_loop
from chatcache.errors import CorruptStorageError, StorageError

from .recent import Recent, WalIndex

__all__ = ["Database", "Write"]

A = TypeVar("A")
R = TypeVar("R")
Query = Callable[[sqlite3.Connection, A], R]

_SCHEMA = "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
_HAS_SCHEMA = "SELECT 1 FROM sqlite_master WHERE name = '_cf_KV'"
_PAGE = "PRAGMA page_size = 16384"  # an answer of 2 kB stays in one page; of workerd's 4096 bytes it would take two
_BUSY = 10.0  # seconds to wait for another process's write
_FETCHED_AT_ONCE = 64  # rows; aiosqlite asks for it, and nothing is read through aiosqlite


@dataclass(frozen=True, slots=True)
class Write:
    """One SQL statement, and the parameters of each time that it is run."""

    sql: str
    rows: Sequence[Sequence[Any]]


class Database:
    """One SQLite file in WAL mode, with an fsync for each commit; opened when first used, and again after `close`.

    Every method raises `StorageError` where the file cannot be opened, read or written, and its subclass
    `CorruptStorageError` where it is damaged.
    """

    _connection: sqlite3.Connection | None
    _closer: "finalize[..., Any] | None"
    _file: tuple[int, int] | None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin()
        _DATABASES.add(self)

    def get(self, key: str) -> bytes | None:
        """Return the value in the row of a key, or None."""
        return self._recent.get(key) or self.read(self._recent.read, key, None)

    async def aget(self, key: str) -> bytes | None:
        """Awaiting twin of `get`."""
        return self._recent.get(key) or await self.aread(self._recent.read, key, None)

    def read(self, query: Query[A, R], argument: A, absent: R) -> R:
        """Return what a query gives for its argument, or `absent` where nothing was ever written."""
        with self._lock:
            return self._read(query, argument, absent)

    async def aread(self, query: Query[A, R], argument: A, absent: R) -> R:
        """Awaiting twin of `read`: in place, unless a thread is at work on the connection just now."""
        if not self._lock.acquire(blocking=False):
            return await off_loop(self.read, query, argument, absent)
        try:
            return self._read(query, argument, absent)
        finally:
            self._lock.release()

    def write(self, write: Write) -> int:
        """Run a statement for all of its rows, or for none; return how many rows it changed. Then it is on disk."""
        with self._lock:
            try:
                if self._is_gone():
                    self._release()
                return _commit(self._connection or self._keep(_create(self.path)), write)
            except (sqlite3.Error, OSError) as error:
                raise _explained(error, self.path) from error

    async def awrite(self, write: Write) -> int:
        """Awaiting twin of `write`. Cancelled, it still writes either everything or nothing.

        One row is one statement, for the connection of the loop. More are a transaction: a thread makes it in one go,
        so that it never stands open while a loop does something else.
        """
        if len(write.rows) > 1 or self._is_gone():
            return await off_loop(self.write, write)
        try:
            async with self._writers.turn() as writer:
                connection = await writer.connection()
                self._file = self._file or _identity(self.path)
                return (await connection.execute(write.sql, write.rows[0])).rowcount
        except (sqlite3.Error, OSError) as error:
            raise _explained(error, self.path) from error

    def close(self) -> None:
        """Release the file. What is used afterwards opens it again."""
        with self._lock:
            self._release()

    def before_fork(self) -> None:
        """Close everything, and keep it closed: SQLite's own record of the locks it has would be wrong in the child."""
        self._lock.acquire()
        self._release()

    def after_fork_in_parent(self) -> None:
        """Let it be opened again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the locks of the parent's threads are of no use here."""
        self._begin()

    def _read(self, query: Query[A, R], argument: A, absent: R) -> R:
        try:
            connection = self._connection or self._reopened()
            return absent if connection is None else query(connection, argument)
        except (sqlite3.Error, OSError) as error:
            raise _explained(error, self.path) from error

    def _begin(self) -> None:
        self._lock = Lock()
        self._recent = Recent()
        self._connection = self._closer = self._file = None
        self._writers = PerLoop(lambda: _Writer(self.path))

    def _is_gone(self) -> bool:
        """Whether the file that was opened was deleted or replaced since: what is written to it would be lost."""
        return self._file is not None and self._file != _identity(self.path)

    def _release(self) -> None:
        self._recent.begin(None)
        self._writers.clear()
        if self._closer is not None:
            self._closer()
        self._connection = self._closer = self._file = None

    def _reopened(self) -> sqlite3.Connection | None:
        opened = _open(self.path)
        return None if opened is None else self._keep(opened)

    def _keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Hold a connection until `close`, or until nobody holds this object, or the program ends."""
        self._connection, self._closer = connection, finalize(self, connection.close)
        self._file = _identity(self.path)
        self._recent.begin(WalIndex.beside(self.path))
        return connection


class _Writer:
    """The connection through which the tasks of one event loop write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: aiosqlite.Connection | None = None

    async def connection(self) -> aiosqlite.Connection:
        if self._connection is None:
            opened = await off_loop(_create, self._path)  # aiosqlite leaves a thread behind where opening fails
            connection = born_daemon(lambda: aiosqlite.Connection(lambda: opened, _FETCHED_AT_ONCE))
            finalize(self, finish_apart, connection.close)
            self._connection = await connection
        return self._connection


_DATABASES: WeakSet[Database] = WeakSet()
_FORKING: list[Database] = []  # while a fork is under way


def _before_fork() -> None:
    _FORKING.extend(_DATABASES)
    for database in _FORKING:
        database.before_fork()


def _after_fork_in_parent() -> None:
    while _FORKING:
        _FORKING.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _FORKING:
        _FORKING.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _commit(connection: sqlite3.Connection, write: Write) -> int:
    """Run a statement for all of its rows in one transaction; one row alone is a transaction by itself."""
    if len(write.rows) == 1:
        return connection.execute(write.sql, write.rows[0]).rowcount
    connection.execute("BEGIN IMMEDIATE")
    try:
        changed = connection.executemany(write.sql, write.rows).rowcount
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return changed


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what a file is whatever its name, or None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _create(path: Path) -> sqlite3.Connection:
    """Open a file to write to, and make it where there is none, readable for its owner only."""
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    given_up = time.monotonic() + _BUSY
    while True:  # SQLite itself does not wait where two connections make one file at once
        try:
            return _prepared(path, _PAGE, "PRAGMA journal_mode = WAL", _SCHEMA, make=True)
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > given_up:
                raise
        time.sleep(0.005)


def _open(path: Path) -> sqlite3.Connection | None:
    """Open a file that was written to, or return None."""
    if not path.exists():
        return None
    connection = _prepared(path)
    if connection.execute(_HAS_SCHEMA).fetchone() is not None:
        return connection
    connection.close()
    return None


def _prepared(path: Path, *statements: str, make: bool = False) -> sqlite3.Connection:
    """Connect to a file. Only SQLite ever opens it: to close another descriptor of it would drop SQLite's locks."""
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        if make and path.stat().st_size == 0:
            path.chmod(0o600)  # while nothing is in it; SQLite gives the files beside it the same
        for statement in ("PRAGMA synchronous = FULL", *statements):
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _explained(error: Exception, path: Path) -> StorageError:
    """Return an error of SQLite or of the system as one that says what to do."""
    elsewhere = "pass another path=, or set CHATCACHE_DIR"
    match getattr(error, "sqlite_errorname", type(error).__name__):
        case "SQLITE_NOTADB" | "SQLITE_CORRUPT" | "SQLITE_CORRUPT_INDEX" | "SQLITE_CORRUPT_VTAB":
            return CorruptStorageError(
                f"{path} is no SQLite database, or a damaged one ({error}): move it away to begin anew, or {elsewhere}"
            )
        case "SQLITE_BUSY" | "SQLITE_BUSY_SNAPSHOT" | "SQLITE_BUSY_RECOVERY" | "SQLITE_LOCKED":
            return StorageError(
                f"{path} was locked by another connection for more than {_BUSY:g} s ({error}): find what holds it"
            )
        case "SQLITE_FULL":
            return StorageError(f"{path} cannot grow, the disk is full ({error}): make room, or {elsewhere}")
        case "PermissionError" | "SQLITE_READONLY" | "SQLITE_READONLY_DIRECTORY" | "SQLITE_CANTOPEN":
            return StorageError(
                f"{path} cannot be opened or written ({error}): let this user write its folder, or {elsewhere}"
            )
        case _:
            return StorageError(
                f"{path} cannot be used ({error}): see that its folder is one to write to, or {elsewhere}"
            )
