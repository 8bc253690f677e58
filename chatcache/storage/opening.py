"""Connections to the files of objects. A file may come from anybody, so it is looked at before anything is read.

A SQLite file can do more than hold rows. A view or a generated column under the name of our table computes what we
read, for as long as it likes. A trigger, or a foreign key, runs with what we write. A rollback journal beside the file
can name another file, which SQLite deletes. So a connection is given out only if

* the file and those beside it are regular files, and no journal is there that chatcache could not have left;
* our tables are exactly ours, nothing of the user's own tables runs when we write, and the format is the one we write.

Tables that users made with ``storage.sql`` may stand beside ours.
"""

import os
import re
import sqlite3
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from chatcache.errors import CorruptStorageError, StorageError

from .patience import is_busy
from .stall import is_stalled

__all__ = ["Immutable", "Schema", "connect", "limit_rows"]

_APPLICATION = 0x63686363  # "chcc", https://www.sqlite.org/fileformat.html#application_id
_VERSION = 1  # of the format; https://www.sqlite.org/fileformat.html#user_version_number
_INTERNAL = "_cf_"
_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # how a rollback journal begins, and how one ends that names another file
_HEADER_OF_JOURNAL = struct.Struct(">16x L 4x L")  # how many pages the file had before, and how large they are
_PAGE_SIZES = frozenset(512 << power for power in range(8))  # bytes; a journal that says 0 has pages like the file's
_MOST_STEPS = 200  # thousands of instructions of SQLite's machine that reading a schema may take, some ten an entry
_LONGEST_SQL = 1_000_000  # bytes of a statement, and of one in a schema
_LONG = 16_777_216  # bytes of a row that are read in any case; of a key that is looked up in vain, too
_LONGEST = 1_000_000_000  # bytes of a row that SQLite can hold
_BESIDE = 100  # bytes of a row beside its key and its value, and some to spare
_HEADER = ("PRAGMA application_id", "PRAGMA user_version", "PRAGMA encoding")
_SIZE = "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size"
_ENTRIES = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_MENTIONS = (
    f"{_ENTRIES} WHERE instr(lower(coalesce(name, '') || ' ' || coalesce(tbl_name, '') || ' ' || coalesce(sql, '')), "
    f"'{_INTERNAL}')"
)
_INDEXES = "SELECT name FROM pragma_index_list(?) WHERE origin = 'c'"
_TOUCHES = {sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_REMEDY = "move it away to begin anew, or use another folder"


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a file.

    Attributes:
        creates: the statements that make them, each with IF NOT EXISTS.
        writes: every statement that writes to them.
    """

    creates: tuple[str, ...]
    writes: tuple[str, ...]

    def names(self, kind: str) -> set[str]:
        """Return the names of its tables or indexes."""
        return {name for each in self.creates for name in re.findall(rf"{kind} IF NOT EXISTS (\w+)", each)}


class Immutable(sqlite3.Connection):
    """A connection to a file that nobody can be writing to: SQLite takes no locks, and notices no change."""


def connect(
    path: Path,
    *statements: str,
    schema: Schema,
    make: bool = False,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    """Connect to a file and check it; only to read, unless it is to be made.

    The connection waits for no lock, see `chatcache.storage.patience`. Only SQLite ever opens the file: to close
    another descriptor of it would drop the locks of the process.

    Args:
        path: the file.
        statements: are run before the tables are made.
        schema: the tables.
        make: make the file and its tables if they do not exist, readable for their owner only, and let them be written.
        factory: the class of the connection.

    Raises:
        CorruptStorageError: the file, or one beside it, is not what chatcache writes.
        StorageError: the file can only be read, and was not closed by its last writer.
        sqlite3.Error: it cannot be opened.
        OSError: it cannot be looked at.
    """
    _check_files(path, make=make)
    connection = _opened(path, factory, make=make)
    try:
        if make and path.stat().st_size == 0:
            path.chmod(0o600)  # while nothing is in it; SQLite gives the files beside it the same
        _prepare(connection, path, statements, schema, make=make)
    except BaseException:
        connection.close()
        raise
    return connection


def limit_rows(connection: sqlite3.Connection, longest_row: int) -> None:
    """Have SQLite refuse rows that are longer than those that are written, before it reads them into memory.

    Args:
        connection: a connection to read by.
        longest_row: how many bytes a key and its value may take together.
    """
    most = min(max(longest_row, _LONG) + _BESIDE, _LONGEST)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most)


def _opened(path: Path, factory: type[sqlite3.Connection], *, make: bool) -> sqlite3.Connection:
    if _is_writable(path) or (make and not path.exists()):
        return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, factory=factory)
    if make:  # SQLite would make the files beside it, which its owner could not write
        raise PermissionError(EACCES, "it cannot be written by this user", str(path))
    return _opened_to_read(path, factory)


def _is_writable(path: Path) -> bool:
    """Return whether this user may write a file and make others beside it, as SQLite does to read with locks."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _opened_to_read(path: Path, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    """Open a file that cannot be written: with locks if the files for them are there, else as one that cannot change.

    Raises:
        StorageError: its last writer did not close it, and what is in the log cannot be read from here.
    """
    log = _beside(path, "-wal")
    if log.exists() or _beside(path, "-shm").exists():  # somebody may be writing
        try:
            connection = _opened_by_uri(path, "mode=ro", factory)
            connection.execute("SELECT 1 FROM sqlite_master")
        except sqlite3.Error as error:
            if is_busy(error) or is_stalled(error):
                raise
            if log.exists() and log.stat().st_size > 0:
                raise StorageError(
                    f"{path} cannot be written, and was not closed by its last writer ({error}). Open and close the "
                    "store once on a writable folder that holds the .sqlite and the .sqlite-wal, then copy the .sqlite "
                    "alone"
                ) from error
        else:
            return connection
    immutable = Immutable if factory is sqlite3.Connection else factory
    return _opened_by_uri(path, "mode=ro&immutable=1", immutable)


def _opened_by_uri(path: Path, query: str, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    location = path.absolute().as_posix()
    for reserved in "%?#":  # the first one first; `as_uri` would load a package for it
        location = location.replace(reserved, f"%{ord(reserved):02x}")
    uri = f"file://{'' if location.startswith('/') else '/'}{location}?{query}"  # else a path may begin with a host
    return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False, factory=factory)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _check_files(path: Path, *, make: bool) -> None:
    """Check what SQLite is going to open."""
    real = Path(os.path.realpath(path)) if path.is_symlink() and not make else path  # nothing is written through a link
    for suffix in ("", "-journal", "-wal", "-shm"):
        file = f"{real}{suffix}"
        try:
            mode = os.lstat(file).st_mode
            if not S_ISREG(mode):
                raise CorruptStorageError(f"{file} is {_kind(mode)} instead of a regular file: remove it")
            if suffix == "-journal":
                _check_journal(Path(file), real)
        except FileNotFoundError:
            continue


def _kind(mode: int) -> str:
    return "a symbolic link" if S_ISLNK(mode) else "a folder" if S_ISDIR(mode) else "a device, a socket or a pipe"


def _check_journal(journal: Path, file: Path) -> None:
    """Check a rollback journal: there is one while a file is made, and while the index of the alarms is written.

    It may neither name another file nor restore more pages than the file and the journal hold. SQLite writes the size
    of a page into every journal.
    """
    with journal.open("rb") as opened:
        head = opened.read(_HEADER_OF_JOURNAL.size)
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - len(_JOURNAL)))
        tail = opened.read(len(_JOURNAL))
    if not head or head[0] == 0:  # SQLite does not use it
        return
    pages, page_size = _HEADER_OF_JOURNAL.unpack(head) if len(head) == _HEADER_OF_JOURNAL.size else (0, 0)
    most = size + (file.stat().st_size if file.exists() else 0)
    if tail == _JOURNAL or page_size not in _PAGE_SIZES or pages * page_size > most:
        raise CorruptStorageError(
            f"{journal} is a rollback journal that chatcache did not write: SQLite would change or delete files by it. "
            "Remove it, or all files of this store"
        )


def _prepare(
    connection: sqlite3.Connection, path: Path, statements: tuple[str, ...], schema: Schema, *, make: bool
) -> None:
    """Check a file, and make its tables if they are to be made."""
    _harden(connection, may_write=make)
    with _limited(connection, path):
        connection.execute("BEGIN")  # to check one state of a file that another process may be making
        try:
            _check_size(connection, path)
            is_new = not _check(connection, path, schema)
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")
    for statement in statements:
        connection.execute(statement)
    if not make:
        connection.execute("PRAGMA query_only = ON")
    elif is_new:
        _make(connection, schema)


def _harden(connection: sqlite3.Connection, *, may_write: bool) -> None:
    """Let nothing in a file have more effect than rows have."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _LONGEST_SQL)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA foreign_keys = ON")  # else they are not compiled into the statements that are checked
    if not may_write and sys.version_info >= (3, 12):  # a writer also runs ``storage.sql``
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # noqa: FBT003 - its name is before it


@contextmanager
def _limited(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Let a schema be read that is as large as a user's may be, and no larger."""
    steps = iter(range(_MOST_STEPS))
    longest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_SQL)
    connection.set_progress_handler(lambda: next(steps, None) is None, 1_000)
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") not in {"SQLITE_INTERRUPT", "SQLITE_TOOBIG"}:
            raise
        raise CorruptStorageError(f"{path} holds more tables and views than chatcache reads: {_REMEDY}") from error
    finally:
        connection.set_progress_handler(None, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)


def _make(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables, and note whose they are, in one transaction: a killed process leaves all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in schema.creates:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_size(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file and its log are as large as they say.

    SQLite takes any length of a value or a key for possible that fits into so many pages, and reads it into memory. A
    file of more than 1 GiB has one page that is nowhere.
    """
    ((pages, page_size),) = connection.execute(_SIZE).fetchall()
    log = _beside(Path(os.path.realpath(path)), "-wal")
    if (pages - 1) * page_size > path.stat().st_size + (log.stat().st_size if log.exists() else 0):
        raise CorruptStorageError(f"{path} says that it has {pages:,} pages, more than there are: {_REMEDY}")


def _check(connection: sqlite3.Connection, path: Path, schema: Schema) -> bool:
    """Return whether a file holds our tables, or False if it holds nothing so far."""
    application, version, encoding = (connection.execute(each).fetchall()[0][0] for each in _HEADER)
    entries = connection.execute(_MENTIONS).fetchall()
    if not entries and application == 0 and not connection.execute(f"{_ENTRIES} LIMIT 1").fetchall():
        return False
    if application != _APPLICATION:
        raise CorruptStorageError(f"{path} was not written by this chatcache, or by a version before 0.1: {_REMEDY}")
    if version != _VERSION:
        raise CorruptStorageError(
            f"{path} has format {version}, and this version of chatcache reads format {_VERSION}: use the version that "
            f"wrote it, or {_REMEDY}"
        )
    if encoding != "UTF-8" or not _is_ours(connection, entries, schema):
        raise CorruptStorageError(f"{path} does not hold the tables that chatcache makes: {_REMEDY}")
    return True


def _is_ours(connection: sqlite3.Connection, entries: list[tuple[Any, ...]], schema: Schema) -> bool:
    """Return whether our tables are exactly ours, and nothing of the user's own is run by what we write to them."""
    made = {each.replace("IF NOT EXISTS ", "", 1) for each in schema.creates}
    others = [entry for entry in entries if entry[-1] not in made]
    if len(entries) - len(others) != len(made):
        return False
    if any(str(name).lower().startswith(_INTERNAL) for _, *names, _ in others for name in names):
        return False
    return not others or _writes_alone(connection, schema)


def _writes_alone(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Return whether our statements touch nothing but our tables: no index, trigger or foreign key is on them."""
    tables, indexes = schema.names("TABLE"), schema.names("INDEX")
    for table in tables:
        if not indexes.issuperset(name for (name,) in connection.execute(_INDEXES, (table,)).fetchall()):
            return False

    def decide(action: int, first: str | None, _second: str | None, _database: str | None, by: str | None) -> int:
        return sqlite3.SQLITE_DENY if by or (action in _TOUCHES and first not in tables) else sqlite3.SQLITE_OK

    connection.set_authorizer(decide)
    try:
        for statement in schema.writes:
            connection.execute(f"EXPLAIN {statement}", [None] * statement.count("?"))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in {"SQLITE_AUTH", "SQLITE_ERROR"}:
            raise
        return False
    finally:
        connection.set_authorizer(None)
    return True
