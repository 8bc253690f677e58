"""The SQLite file of one object, for blocking and awaiting callers.

Blocking callers, of any thread, share one connection of ``sqlite3`` behind a lock. Awaiting callers read through the
same connection in place: a point read takes microseconds, a thread hop a hundred. They write, which waits for the
disk, through a connection of ``aiosqlite``, one for each event loop; SQLite itself keeps the two kinds of writers
apart.

The draft of this design had one connection for both. Then a write that awaits its commit holds the connection while
other code runs, and where its loop is stopped in that moment (``run_until_complete`` returned, a notebook's cell ended)
nobody can use the file any more. With a connection a loop, a stopped loop holds up nobody but itself.

Files are made when something is first written: reading from an object that was never written to touches no disk.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import finalize

import aiosqlite

from chatcache._bridge import Lock, PerLoop, born_daemon, drive, finish_apart, off_loop
from chatcache.errors import CorruptStorageError, StorageError

__all__ = ["Database", "Write"]

A = TypeVar("A")
R = TypeVar("R")
Query = Callable[[sqlite3.Connection, A], R]

_SCHEMA = "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
_HAS_SCHEMA = "SELECT 1 FROM sqlite_master WHERE name = '_cf_KV'"
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

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._closer: Callable[[], Any] = _nothing
        self._writers = PerLoop(lambda: _Writer(path))

    def read(self, query: Query[A, R], argument: A, absent: R) -> R:
        """Return what a query gives for its argument, or `absent` where nothing was ever written."""
        with self._lock:
            try:
                connection = self._connection or self._reopened()
                return absent if connection is None else query(connection, argument)
            except (sqlite3.Error, OSError) as error:
                raise _explained(error, self.path) from error

    async def aread(self, query: Query[A, R], argument: A, absent: R) -> R:
        """Awaiting twin of `read`: in place, unless a thread is at work on the connection just now."""
        if self._lock.locked():
            return await off_loop(self.read, query, argument, absent)
        return self.read(query, argument, absent)

    def write(self, write: Write) -> int:
        """Run a statement for all of its rows, or for none; return how many rows it changed. Then it is on disk."""
        with self._lock:
            try:
                connection = self._connection or self._keep(_create(self.path))
                return drive(_commit(_Inline(connection), write))
            except (sqlite3.Error, OSError) as error:
                raise _explained(error, self.path) from error

    async def awrite(self, write: Write) -> int:
        """Awaiting twin of `write`. Cancelled, it still has written either everything or nothing."""
        try:
            async with self._writers.turn() as writer:
                return await _commit(await writer.connection(), write)
        except (sqlite3.Error, OSError) as error:
            raise _explained(error, self.path) from error

    def close(self) -> None:
        """Release the file. What is used afterwards opens it again."""
        self._writers.clear()
        with self._lock:
            self._closer()
            self._connection, self._closer = None, _nothing

    def _reopened(self) -> sqlite3.Connection | None:
        opened = _open(self.path)
        return None if opened is None else self._keep(opened)

    def _keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Hold a connection until `close`, or until nobody holds this object, or the program ends."""
        self._connection, self._closer = connection, finalize(self, connection.close)
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


class _Inline:
    """A blocking connection in the shape of an awaiting one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, row: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, row)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> sqlite3.Cursor:
        return self._connection.executemany(sql, rows)


async def _commit(connection: _Inline | aiosqlite.Connection, write: Write) -> int:
    """Run a statement for all of its rows in one transaction; one row alone is a transaction by itself."""
    if len(write.rows) == 1:
        return (await connection.execute(write.sql, write.rows[0])).rowcount
    try:
        await connection.execute("BEGIN IMMEDIATE")
        changed = (await connection.executemany(write.sql, write.rows)).rowcount
        await connection.execute("COMMIT")
    except BaseException:
        # Also after a cancellation: aiosqlite works in order, so this comes after whatever it was doing.
        with suppress(sqlite3.Error):  # there is nothing to roll back where BEGIN failed, or COMMIT came through
            await connection.execute("ROLLBACK")
        raise
    return changed


def _create(path: Path) -> sqlite3.Connection:
    """Open a file to write to, and make it where there is none, readable for its owner only."""
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return _prepared(path, "PRAGMA journal_mode = WAL", _SCHEMA)


def _open(path: Path) -> sqlite3.Connection | None:
    """Open a file that was written to, or return None."""
    if not path.exists():
        return None
    connection = _prepared(path)
    if connection.execute(_HAS_SCHEMA).fetchone() is not None:
        return connection
    connection.close()
    return None


def _prepared(path: Path, *statements: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        for statement in ("PRAGMA synchronous = FULL", *statements):
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _nothing() -> None:
    """Close nothing."""


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
                f"{path} was locked by another process for more than {_BUSY:g} s ({error}): find the one that holds it"
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
