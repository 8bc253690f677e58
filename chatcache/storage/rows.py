"""The tables of an object's file, and what is read and written of them.

They are workerd's, but for one thing: workerd has keys and values in a table WITHOUT ROWID, whose inner pages hold
whole rows. With pages of 16 kB and values of 2 kB one among a million would be seven pages deep, and a value of more
than 4 kB would take a page of its own besides.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from sqlite3 import Connection
from typing import Any, Protocol

from .layer import UNKNOWN, Layer, Row, Unknown
from .ranges import KeyRange

__all__ = [
    "SCHEMA",
    "Query",
    "RangeQuery",
    "give_back_pages",
    "has_much_free",
    "has_schema",
    "range_query",
    "read_alarm",
    "read_name",
    "read_next",
    "read_row",
    "read_rows",
    "run_query",
    "size_query",
    "write_layer",
    "write_name",
]

Query = tuple[str, Sequence[Any]]
"""SQL, and the values of its parameters."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS _cf_METADATA (key INTEGER PRIMARY KEY, value BLOB)",
    "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT NOT NULL, value BLOB)",
    "CREATE UNIQUE INDEX IF NOT EXISTS _cf_KV_key ON _cf_KV (key)",
)

_ALARM, _NAME = 1, 3  # keys of the metadata; in workerd 2 is a bookmark, and there is no 3
_GIVEN_BACK = 32  # pages at a time, which is half a megabyte
_MUCH = 64  # pages that are free, and one part of the file in so many as follows
_PART = 8
_PAGES = (
    "SELECT auto_vacuum, freelist_count, page_count FROM pragma_auto_vacuum, pragma_freelist_count, pragma_page_count"
)
_HAS_SCHEMA = "SELECT 1 FROM sqlite_master WHERE name = '_cf_KV'"
_GET = "SELECT value FROM _cf_KV WHERE key = ?"
_NEXT = "SELECT key, CASE key WHEN ?1 THEN value END FROM _cf_KV WHERE key >= ?1 ORDER BY key LIMIT 1"
_PUT = "INSERT INTO _cf_KV VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM _cf_KV WHERE key = ?"
_GET_METADATA = "SELECT value FROM _cf_METADATA WHERE key = ?"
_PUT_METADATA = "INSERT INTO _cf_METADATA VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"


def has_schema(connection: Connection) -> bool:
    """Return whether anything was ever written to a file."""
    return connection.execute(_HAS_SCHEMA).fetchone() is not None


def read_row(connection: Connection, key: str) -> bytes | None:
    """Return the value of a row, or None."""
    row = connection.execute(_GET, (key,)).fetchone()
    return None if row is None else row[0]


def read_next(connection: Connection, key: str) -> tuple[str | None, bytes | None]:
    """Return the key of the first row from a key on, or None where there is none, and its value if it is that key's."""
    row = connection.execute(_NEXT, (key,)).fetchone()
    return (None, None) if row is None else row


def read_rows(connection: Connection, keys: Iterable[str]) -> list[Row]:
    """Return those rows that exist, all of one state."""
    try:
        connection.execute("BEGIN")
        found = [(key, read_row(connection, key)) for key in keys]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    return [(key, value) for key, value in found if value is not None]


class RangeQuery(Protocol):
    """What returns the query for something of each row of a range."""

    def __call__(self, bounds: KeyRange, limit: int | None, *, reverse: bool) -> Query:
        """Return the query."""
        ...


def range_query(bounds: KeyRange, limit: int | None, *, reverse: bool) -> Query:
    """Return the query for the rows of a range, in order."""
    return _query("value", bounds, limit, reverse=reverse)


def size_query(bounds: KeyRange, limit: int | None, *, reverse: bool) -> Query:
    """Return the query for the keys of a range with the bytes of their values, which SQLite knows without reading."""
    return _query("length(value)", bounds, limit, reverse=reverse)


def _query(column: str, bounds: KeyRange, limit: int | None, *, reverse: bool) -> Query:
    where, parameters = _where(bounds)
    order = "DESC" if reverse else "ASC"
    sql = f"SELECT key, {column} FROM _cf_KV WHERE {where} ORDER BY key {order} LIMIT ?"  # noqa: S608 - no input in it
    return sql, (*parameters, -1 if limit is None else limit)


def run_query(connection: Connection, query: Query) -> list[Any]:
    """Return the rows of a query."""
    return connection.execute(*query).fetchall()


def read_alarm(connection: Connection, _argument: None = None) -> int | None:
    """Return the alarm, in nanoseconds since the epoch, or None."""
    row = connection.execute(_GET_METADATA, (_ALARM,)).fetchone()
    return None if row is None else row[0]


def read_name(connection: Connection, _argument: None = None) -> str | None:
    """Return the name that the object was made by, or None."""
    row = connection.execute(_GET_METADATA, (_NAME,)).fetchone()
    return None if row is None else row[0]


def write_name(connection: Connection, name: str) -> None:
    """Write the name that the object is made by."""
    connection.execute(_PUT_METADATA, (_NAME, name))


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
        connection.executemany(_PUT, sorted((key, value) for key, value in layer.rows.items() if value is not None))
    alarm = layer.alarm
    if isinstance(alarm, Unknown) and layer.latest is not None:
        is_set = read_alarm(connection)
        alarm = layer.latest if is_set in (None, firing) or is_set > layer.latest else UNKNOWN
    if alarm is not UNKNOWN:
        connection.execute(_PUT_METADATA, (_ALARM, alarm))
    return alarm


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
