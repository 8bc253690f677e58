"""The key/value storage of one object."""

from collections.abc import Iterable, Mapping
from sqlite3 import Connection
from typing import Any

from chatcache.codec import decode, encode
from chatcache.errors import CorruptRecordError, InvalidInputError

from .database import Database, Write
from .ranges import KeyRange, check_key, key_range, prefix_range
from .recent import read_row

__all__ = ["Storage"]

Rows = list[tuple[str, bytes]]
Listing = tuple[str, tuple[Any, ...]]

_PUT = "INSERT INTO _cf_KV VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM _cf_KV WHERE key = ?"
_DELETE_SAME = f"{_DELETE} AND value = ?"
_FROM = "key >= CAST(? AS TEXT)"
_RANGE = f"{_FROM} AND key < CAST(? AS TEXT)"


class Storage:
    """Keys and values of one object, ordered by the UTF-8 bytes of the keys.

    Keys are str. Values are JSON values (see `chatcache.codec`); what is read is a new object each time. A write is on
    disk when its call returns, and the writes of one call are one transaction.

    Every method raises `InvalidNameError` for a key that is none, `StorageError` where the file cannot be used, and,
    where it reads, `CorruptRecordError` for a value that chatcache did not write.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under a key, or `default`."""
        data = self._database.get(check_key(key))
        return default if data is None else self._value(key, data)

    async def aget(self, key: str, default: Any = None) -> Any:
        """Awaiting twin of `get`."""
        data = await self._database.aget(check_key(key))
        return default if data is None else self._value(key, data)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values under those of the keys that exist, in the order of the storage."""
        return self._values(self._database.read(_some, _distinct(keys), []))

    async def aget_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Awaiting twin of `get_many`."""
        return self._values(await self._database.aread(_some, _distinct(keys), []))

    def put(self, key: str, value: Any) -> None:
        """Store a value under a key.

        Raises:
            InvalidValueError: the value cannot be stored; nothing was written.
        """
        self._database.write(_put({key: value}))

    async def aput(self, key: str, value: Any) -> None:
        """Awaiting twin of `put`."""
        await self._database.awrite(_put({key: value}))

    def put_many(self, entries: Mapping[str, Any]) -> None:
        """Store values under keys: all of them, or none.

        Raises:
            InvalidValueError: one of the values cannot be stored; nothing was written.
        """
        if entries:
            self._database.write(_put(entries))

    async def aput_many(self, entries: Mapping[str, Any]) -> None:
        """Awaiting twin of `put_many`."""
        if entries:
            await self._database.awrite(_put(entries))

    def delete(self, key: str) -> bool:
        """Delete a key; return whether it existed."""
        return self._database.write(_delete([key])) > 0

    async def adelete(self, key: str) -> bool:
        """Awaiting twin of `delete`."""
        return await self._database.awrite(_delete([key])) > 0

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete keys, all in one transaction; return how many existed."""
        write = _delete(keys)
        return self._database.write(write) if write.rows else 0

    async def adelete_many(self, keys: Iterable[str]) -> int:
        """Awaiting twin of `delete_many`."""
        write = _delete(keys)
        return await self._database.awrite(write) if write.rows else 0

    def delete_prefix(self, prefix: str) -> int:
        """Delete every key that begins with a prefix, in one statement; return how many. Not in Cloudflare's API."""
        return self._database.write(_delete_range(prefix_range(prefix)))

    async def adelete_prefix(self, prefix: str) -> int:
        """Awaiting twin of `delete_prefix`."""
        return await self._database.awrite(_delete_range(prefix_range(prefix)))

    def delete_same(self, key: str, value: Any) -> bool:
        """Delete a key if its value is still this one; return whether it was. Not in Cloudflare's API."""
        return self._database.write(_delete_same(key, value)) > 0

    async def adelete_same(self, key: str, value: Any) -> bool:
        """Awaiting twin of `delete_same`."""
        return await self._database.awrite(_delete_same(key, value)) > 0

    def list(  # noqa: PLR0913 - Cloudflare's options of a listing
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return keys with their values, in order.

        Args:
            prefix: only keys that begin so.
            start: the first key, if it exists, whatever the direction.
            start_after: the key before the first; not together with `start`.
            end: the key before which the listing ends, whatever the direction.
            reverse: from the last key to the first.
            limit: at most so many keys, counted in the direction of the listing; at least 1.

        Raises:
            InvalidInputError: the options contradict each other, or the limit is not positive.
        """
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        return self._values(self._database.read(_range, _listing(bounds, reverse=reverse, limit=limit), []))

    async def alist(  # noqa: PLR0913 - as `list`
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Awaiting twin of `list`."""
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        rows: Rows = await self._database.aread(_range, _listing(bounds, reverse=reverse, limit=limit), [])
        return self._values(rows)

    def _values(self, rows: Rows) -> dict[str, Any]:
        return {key: self._value(key, data) for key, data in rows}

    def _value(self, key: str, data: bytes) -> Any:
        try:
            return decode(data)
        except CorruptRecordError as error:
            raise CorruptRecordError(f"key {key!r} in {self._database.path}: {error}") from error


def _some(connection: Connection, keys: list[str]) -> Rows:
    try:
        connection.execute("BEGIN")  # so that all are read from one state
        found = [(key, read_row(connection, key)) for key in keys]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
    return [(key, value) for key, value in found if value is not None]


def _range(connection: Connection, listing: Listing) -> Rows:
    return connection.execute(*listing).fetchall()


def _listing(bounds: KeyRange, *, reverse: bool, limit: int | None) -> Listing:
    if limit is not None and (not isinstance(limit, int) or limit <= 0):
        raise InvalidInputError(f"list() got limit={limit!r}: pass a whole number from 1 on, or None for all")
    where, parameters = _where(bounds)
    order = "DESC" if reverse else "ASC"
    sql = f"SELECT key, value FROM _cf_KV WHERE {where} ORDER BY key {order} LIMIT ?"  # noqa: S608 - no input in it
    return sql, (*parameters, -1 if limit is None else limit)


def _put(entries: Mapping[str, Any]) -> Write:
    return Write(_PUT, [(check_key(key), encode(value)) for key, value in entries.items()])


def _delete(keys: Iterable[str]) -> Write:
    return Write(_DELETE, [(key,) for key in _distinct(keys)])


def _delete_same(key: str, value: Any) -> Write:
    return Write(_DELETE_SAME, [(check_key(key), encode(value))])


def _distinct(keys: Iterable[str]) -> list[str]:
    return sorted({check_key(key) for key in keys})


def _delete_range(bounds: KeyRange) -> Write:
    where, parameters = _where(bounds)
    return Write(f"DELETE FROM _cf_KV WHERE {where}", [parameters])  # noqa: S608 - no input in it


def _where(bounds: KeyRange) -> tuple[str, tuple[bytes, ...]]:
    if bounds.end is None:
        return _FROM, (bounds.start,)
    return _RANGE, (bounds.start, bounds.end)
