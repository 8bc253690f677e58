"""The tables of an object's file, which are workerd's, and what is read and written of them."""

from collections.abc import Callable, Iterable, Sequence
from sqlite3 import Connection
from typing import Any

from .layer import UNKNOWN, Layer, Row
from .ranges import KeyRange

__all__ = [
    "SCHEMA",
    "Query",
    "delete_rows",
    "has_schema",
    "range_query",
    "read_alarm",
    "read_name",
    "read_row",
    "read_rows",
    "run_query",
    "write_layer",
    "write_name",
]

Query = tuple[str, Sequence[Any]]
"""SQL, and the values of its parameters."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS _cf_METADATA (key INTEGER PRIMARY KEY, value BLOB)",
    "CREATE TABLE IF NOT EXISTS _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",  # the last: all are there
)

_ALARM, _NAME = 1, 3  # keys of the metadata; in workerd 2 is a bookmark, and there is no 3
_HAS_SCHEMA = "SELECT 1 FROM sqlite_master WHERE name = '_cf_KV'"
_GET = "SELECT value FROM _cf_KV WHERE key = ?"
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


def read_rows(connection: Connection, keys: Iterable[str]) -> list[Row]:
    """Return those rows that exist, all of one state."""
    try:
        connection.execute("BEGIN")
        found = [(key, read_row(connection, key)) for key in keys]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    return [(key, value) for key, value in found if value is not None]


def delete_rows(connection: Connection, keys: Iterable[str], which: Callable[[str, bytes], bool]) -> None:
    """Delete those rows that a function chooses by key and value."""
    for key in keys:
        value = read_row(connection, key)
        if value is not None and which(key, value):
            connection.execute(_DELETE, (key,))


def range_query(bounds: KeyRange, limit: int | None, *, reverse: bool) -> Query:
    """Return the query for the rows of a range, in order."""
    where, parameters = _where(bounds)
    order = "DESC" if reverse else "ASC"
    sql = f"SELECT key, value FROM _cf_KV WHERE {where} ORDER BY key {order} LIMIT ?"  # noqa: S608 - no input in it
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


def write_layer(connection: Connection, layer: Layer) -> None:
    """Write a layer by a connection that is in a transaction."""
    for bounds in layer.cleared:
        where, parameters = _where(bounds)
        connection.execute(f"DELETE FROM _cf_KV WHERE {where}", parameters)  # noqa: S608 - no input in it
    deleted = [(key,) for key, value in layer.rows.items() if value is None]
    if deleted:
        connection.executemany(_DELETE, deleted)
    if len(deleted) < len(layer.rows):
        # in the order of the file, which is quicker than any other
        connection.executemany(_PUT, sorted((key, value) for key, value in layer.rows.items() if value is not None))
    if layer.alarm is not UNKNOWN:
        connection.execute(_PUT_METADATA, (_ALARM, layer.alarm))


def _where(bounds: KeyRange) -> tuple[str, tuple[bytes, ...]]:
    if bounds.end is None:
        return "key >= CAST(? AS TEXT)", (bounds.start,)
    return "key >= CAST(? AS TEXT) AND key < CAST(? AS TEXT)", (bounds.start, bounds.end)
