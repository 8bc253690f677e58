"""The tables of an object's file, and what is read and written of them.

They are workerd's, but for two things. workerd has keys and values in a table WITHOUT ROWID, whose inner pages hold
whole rows. With pages of 16 kB and values of 2 kB one among a million would be seven pages deep, and a value of more
than 4 kB would take a page of its own besides.

And each row has a checksum here, an XXH3 that binds the value to its key: SQLite notices damaged pages only if they
break its own structures, and would return an altered value. The functions of this module add and check it, so that
nobody else sees it. A value that fails the check is read as `DAMAGED`, which cannot be decoded.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from sqlite3 import Connection
from typing import Any, TypeVar

from xxhash import xxh3_64_digest, xxh32_intdigest

from chatcache.codec import DAMAGED
from chatcache.errors import CorruptRecordError, CorruptStorageError

from .layer import UNKNOWN, Layer, Row, Unknown
from .opening import Schema
from .ranges import KeyRange

__all__ = [
    "SCHEMA",
    "SIZES",
    "VALUES",
    "Listing",
    "Query",
    "checksum",
    "count_rows",
    "ends_of_values",
    "give_back_pages",
    "has_much_free",
    "has_schema",
    "read_alarm",
    "read_name",
    "read_next",
    "read_row",
    "read_rows",
    "run_query",
    "write_layer",
    "write_name",
]

R = TypeVar("R")

Query = tuple[str, Sequence[Any]]
"""SQL, and the values of its parameters."""

_ALARM, _NAME = 1, 3  # keys of the metadata; in workerd 2 is a bookmark, and there is no 3
_GIVEN_BACK = 32  # pages at a time, which is half a megabyte
_MUCH = 64  # pages that are free, and one part of the file in so many as follows
_PART = 8
_PAGES = (
    "SELECT auto_vacuum, freelist_count, page_count FROM pragma_auto_vacuum, pragma_freelist_count, pragma_page_count"
)
_HAS_SCHEMA = "SELECT 1 FROM sqlite_master WHERE name = '_cf_KV'"
_GET = "SELECT checksum, value FROM _cf_KV INDEXED BY _cf_KV_key WHERE key = ?"
_GET_SOME = "SELECT key, checksum, value FROM _cf_KV INDEXED BY _cf_KV_key WHERE key IN"
_AT_ONCE = 250  # keys of one query, which takes less time than as many queries
_NEXT = (
    "SELECT key, checksum, CASE key WHEN ? THEN value END FROM _cf_KV INDEXED BY _cf_KV_key "
    "WHERE key >= ? ORDER BY key LIMIT 1"
)
_PUT = (
    "INSERT INTO _cf_KV (key, checksum, value) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET checksum = excluded.checksum, value = excluded.value"
)
_DELETE = "DELETE FROM _cf_KV WHERE key = ?"
_GET_METADATA = "SELECT checksum, value FROM _cf_METADATA WHERE key = ?"
_PUT_METADATA = (
    "INSERT INTO _cf_METADATA (key, checksum, value) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET checksum = excluded.checksum, value = excluded.value"
)

SCHEMA = Schema(
    creates=(
        "CREATE TABLE IF NOT EXISTS _cf_METADATA (key INTEGER PRIMARY KEY, checksum BLOB, value BLOB)",
        "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT NOT NULL, checksum BLOB, value BLOB)",
        "CREATE UNIQUE INDEX IF NOT EXISTS _cf_KV_key ON _cf_KV (key)",
    ),
    writes=(_PUT, _DELETE, _PUT_METADATA),
)


def has_schema(connection: Connection) -> bool:
    """Return whether anything was ever written to a file."""
    return connection.execute(_HAS_SCHEMA).fetchone() is not None


def checksum(key: str, value: bytes) -> bytes:
    """Return the checksum of a row: the XXH3 of its value in 64 bits, of which the XXH32 of its key is the seed."""
    return xxh3_64_digest(value, xxh32_intdigest(key.encode()))


def read_row(connection: Connection, key: str) -> bytes | None:
    """Return the value of a row, or None."""
    row = connection.execute(_GET, (key,)).fetchone()
    if row is None:
        return None
    expected, value = row
    return value if type(value) is bytes and checksum(key, value) == expected else DAMAGED


def read_next(connection: Connection, key: str) -> tuple[str | None, bytes | None]:
    """Return the key of the first row from a key on, or None where there is none, and its value if it is that key's."""
    row = connection.execute(_NEXT, (key, key)).fetchone()
    if row is None:
        return None, None
    found = row[0]
    if found == key:
        return _values([row])[0]
    return (found, None) if type(found) is str and found > key else (key, DAMAGED)


def read_rows(connection: Connection, keys: Sequence[str], *, take: Callable[[str, bytes], R]) -> dict[str, R]:
    """Return what is taken of those rows that exist, all of one state, by their keys and in their order."""
    taken = {}
    try:
        connection.execute("BEGIN")
        for at in range(0, len(keys), _AT_ONCE):
            some = keys[at : at + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, expected, value in connection.execute(f"{_GET_SOME} ({marks}) ORDER BY key", some):
                is_right = type(value) is bytes and checksum(key, value) == expected
                taken[key] = take(key, value if is_right else DAMAGED)
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    return taken


def _values(rows: Iterable[tuple[Any, ...]]) -> list[Row]:
    return [
        (key, value if type(value) is bytes and checksum(key, value) == expected else DAMAGED)
        for key, expected, value in rows
        if type(key) is str
    ]


def _sizes(rows: Iterable[tuple[Any, ...]]) -> list[tuple[str, int]]:
    return [(key, size if type(size) is int else 0) for key, size in rows if type(key) is str]


@dataclass(frozen=True, slots=True)
class Listing:
    """What is read of each row of a range.

    Attributes:
        columns: the columns behind the key, in SQL.
        read: makes pairs of a key and what is listed of it from the rows that SQLite returns.
    """

    columns: str
    read: Callable[[Iterable[tuple[Any, ...]]], Sequence[tuple[str, Any]]]

    def query(self, bounds: KeyRange, limit: int | None, *, reverse: bool) -> Query:
        """Return the query for the rows of a range, in order."""
        where, parameters = _where(bounds)
        order = "DESC" if reverse else "ASC"
        sql = (
            f"SELECT key, {self.columns} FROM _cf_KV INDEXED BY _cf_KV_key "  # noqa: S608 - no input in it
            f"WHERE {where} ORDER BY key {order} LIMIT ?"
        )
        return sql, (*parameters, -1 if limit is None else limit)


VALUES = Listing("checksum, value", _values)
"""The values of a range, checked."""
SIZES = Listing("length(value)", _sizes)
"""The bytes of the values of a range, which SQLite knows without reading them."""


def run_query(connection: Connection, query: Query) -> list[Any]:
    """Return the rows of a query."""
    return connection.execute(*query).fetchall()


def count_rows(bounds: KeyRange) -> Query:
    """Return the query for the number of rows of a range."""
    where, parameters = _where(bounds)
    return f"SELECT count(*) FROM _cf_KV INDEXED BY _cf_KV_key WHERE {where}", parameters  # noqa: S608 - no input in it


def ends_of_values(ranges: Sequence[KeyRange], rows: range, length: int) -> Query:
    """Return the query for the keys of some ranges, the one that was first written last first, and their values' ends.

    It visits the rows in the order of the file, and no more of them than a range of row ids has.

    Args:
        ranges: the ranges of keys.
        rows: the row ids.
        length: how many bytes of the begin of a value, and of the end of a longer one.
    """
    parts = [_where(bounds) for bounds in ranges]
    where = " OR ".join(f"({part})" for part, _ in parts)
    sql = (
        "SELECT key, substr(value, 1, ?), substr(value, max(? + 1, length(value) - ? + 1)) "  # noqa: S608 - no input in it
        f"FROM _cf_KV NOT INDEXED WHERE rowid >= ? AND rowid < ? AND ({where}) ORDER BY rowid DESC"
    )
    keys = [each for _, parameters in parts for each in parameters]
    return sql, (length, length, length, rows.start, rows.stop, *keys)


def read_alarm(connection: Connection, _argument: None = None) -> int | None:
    """Return the alarm, in nanoseconds since the epoch, or None.

    Raises:
        CorruptRecordError: its row is damaged.
    """
    alarm = _read_metadata(connection, _ALARM)
    if alarm is None or isinstance(alarm, int):
        return alarm
    raise CorruptRecordError("the alarm is damaged: its checksum does not match; set it again")


def read_name(connection: Connection, _argument: None = None) -> str | None:
    """Return the name that the object was made by, or None.

    Raises:
        CorruptStorageError: its row is damaged.
    """
    name = _read_metadata(connection, _NAME)
    if name is None or isinstance(name, str):
        return name
    raise CorruptStorageError("the name of the object is damaged: its checksum does not match")


def write_name(connection: Connection, name: str) -> None:
    """Write the name that the object is made by, unless there is one that can be read."""
    if _read_metadata(connection, _NAME) in (None, DAMAGED):
        _write_metadata(connection, _NAME, name)


def _read_metadata(connection: Connection, key: int) -> Any:
    row = connection.execute(_GET_METADATA, (key,)).fetchone()
    if row is None:
        return None
    expected, value = row
    return value if _metadata_checksum(key, value) == expected else DAMAGED


def _write_metadata(connection: Connection, key: int, value: int | str | None) -> None:
    connection.execute(_PUT_METADATA, (key, _metadata_checksum(key, value), value))


def _metadata_checksum(key: int, value: Any) -> bytes:
    return checksum(str(key), repr(value).encode())


def write_layer(connection: Connection, layer: Layer, firing: int | None) -> int | Unknown | None:
    """Write a layer by a connection that is in a transaction; return the alarm that was written, if one was.

    One that is firing counts as none, since it is deleted when its handler returns.
    """
    for where, ranges in groupby(map(_where, layer.cleared), key=itemgetter(0)):
        connection.executemany(f"DELETE FROM _cf_KV WHERE {where}", map(itemgetter(1), ranges))  # noqa: S608 - no input in it
    deleted = [(key,) for key, value in layer.rows.items() if value is None]
    if deleted:
        connection.executemany(_DELETE, deleted)
    if len(deleted) < len(layer.rows):
        # in the order of the file, which is quicker than any other
        rows = sorted((key, value) for key, value in layer.rows.items() if value is not None)
        connection.executemany(_PUT, [(key, checksum(key, value), value) for key, value in rows])
    alarm = layer.alarm
    if isinstance(alarm, Unknown) and layer.latest is not None:
        is_set = _alarm_to_replace(connection)
        alarm = layer.latest if is_set is None or is_set == firing or is_set > layer.latest else UNKNOWN
    if not isinstance(alarm, Unknown):
        _write_metadata(connection, _ALARM, alarm)
    return alarm


def _alarm_to_replace(connection: Connection) -> int | None:
    """Return the alarm, or None also where it is damaged: then another one takes its place."""
    try:
        return read_alarm(connection)
    except CorruptRecordError:
        return None


def has_much_free(connection: Connection) -> bool:
    """Return whether so much of a file is free that some of it is worth giving back, and it is one that can shrink."""
    ((shrinks, free, pages),) = connection.execute(_PAGES)
    return bool(shrinks and free >= _MUCH and free * _PART >= pages)


def give_back_pages(connection: Connection) -> None:
    """Take a few free pages off the end of a file, which is shorter after the next checkpoint."""
    connection.executescript(f"PRAGMA incremental_vacuum({_GIVEN_BACK})")  # `execute` would stop after the first one


def _where(bounds: KeyRange) -> tuple[str, tuple[bytes, ...]]:
    if bounds.end is None:
        return "key >= CAST(? AS TEXT)", (bounds.start,)
    return "key >= CAST(? AS TEXT) AND key < CAST(? AS TEXT)", (bounds.start, bounds.end)
