"""Backing persistence in the storage of one object, every store id in a namespace of its own.

After Alchemy's ``DurableObjectChatPersistence``, with its three defects mended: the TTL is kept, the store id is
escaped, and any number of keys may be passed. An entry is the row ``escape(store_id):key`` with the value
``[value, expires]``, where ``expires`` is in milliseconds since the epoch, or null.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from chatcache._bridge import Colour, awaiting, blocking, drive
from chatcache.clock import Clock, milliseconds
from chatcache.errors import CorruptRecordError, InvalidNameError
from chatcache.storage import Storage
from chatcache.ttl import TTL, expires_at

from .names import check_store_id
from .port import BackingStore, Entry

__all__ = ["DurableObjectPersistence", "escape"]

_NEVER = [None]  # what follows the value in a row that does not expire


class DurableObjectPersistence:
    """Makes backing stores in the storage of one object.

    Args:
        storage: the object's storage.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, storage: Storage, *, clock: Clock = time.time) -> None:
        self._storage = storage
        self._clock = clock

    def make(self, store_id: str) -> BackingStore:
        """Return the store of an id; two of one id see the same entries.

        Raises:
            InvalidNameError: the id is no str of 1 to 512 bytes of UTF-8.
        """
        return _ObjectStore(self._storage, f"{escape(check_store_id(store_id))}:", self._clock)


def escape(store_id: str) -> str:
    """Return a store id without ``:``, so that the prefix of a row's key ends at its first ``:``. Injective."""
    return store_id.replace("%", "%25").replace(":", "%3A")


class _ObjectStore:
    """The entries whose keys begin with a prefix."""

    def __init__(self, storage: Storage, prefix: str, clock: Clock) -> None:
        self._storage = storage
        self._prefix = prefix
        self._clock = clock

    def get(self, key: str, default: Any = None) -> Any:
        row = self._row(key)
        cell = self._storage.get(row)
        if type(cell) is list and cell[1:] == _NEVER:  # nearly every one, so this is asked before all else
            return cell[0]
        return self._live([row], {row: cell}, default)[0]

    async def aget(self, key: str, default: Any = None) -> Any:
        row = self._row(key)
        cell = await self._storage.aget(row)
        if type(cell) is list and cell[1:] == _NEVER:
            return cell[0]
        return self._live([row], {row: cell}, default)[0]

    def get_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        return drive(self._get_many(blocking, keys, default))

    async def aget_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        return await self._get_many(awaiting, keys, default)

    def set(self, key: str, value: Any, ttl: TTL = None) -> None:
        self._storage.put_many(self._rows([(key, value, ttl)]))

    async def aset(self, key: str, value: Any, ttl: TTL = None) -> None:
        await self.aset_many([(key, value, ttl)])

    def set_many(self, entries: Iterable[Entry]) -> None:
        self._storage.put_many(self._rows(entries))

    async def aset_many(self, entries: Iterable[Entry]) -> None:
        await self._storage.aput_many(self._rows(entries))
        await self._storage.aflush()

    def remove(self, key: str) -> None:
        self._storage.delete(self._row(key))

    async def aremove(self, key: str) -> None:
        await self._storage.adelete(self._row(key))
        await self._storage.aflush()

    def clear(self) -> None:
        self._storage.delete_prefix(self._prefix)

    async def aclear(self) -> None:
        await self._storage.adelete_prefix(self._prefix)
        await self._storage.aflush()

    async def _get_many(self, colour: Colour, keys: Sequence[str], default: Any) -> list[Any]:
        rows = [self._row(key) for key in keys]
        try:
            cells = await colour(self._storage.get_many, self._storage.aget_many, rows)
        except CorruptRecordError:
            cells = {row: await self._readable(colour, row) for row in rows}
        return self._live(rows, cells, default)

    async def _readable(self, colour: Colour, row: str) -> Any:
        try:
            return await colour(self._storage.get, self._storage.aget, row)
        except CorruptRecordError:
            return None

    def _live(self, rows: Sequence[str], cells: Mapping[str, Any], default: Any) -> list[Any]:
        """Return the values in cells, or the default where there is none, or it expired; those are to be deleted."""
        now = milliseconds(self._clock)
        expired = {row for row in rows if _is_expired(cells.get(row), now)}
        if expired:
            self._storage.sweep(expired, partial(_is_expired, now=now))
        return [default if row in expired else _value(cells.get(row), default) for row in rows]

    def _row(self, key: str) -> str:
        if isinstance(key, str):
            return self._prefix + key
        raise InvalidNameError(f"key {key!r:.200} is of type {type(key).__name__}: keys are str")

    def _rows(self, entries: Iterable[Entry]) -> dict[str, Any]:
        now = milliseconds(self._clock)
        return {self._row(key): [value, expires_at(ttl, now)] for key, value, ttl in entries}


def _is_expired(cell: Any, now: int) -> bool:
    match cell:
        case [_, int() as expires]:
            return expires <= now
        case _:
            return False


def _value(cell: Any, default: Any) -> Any:
    match cell:
        case [value, int() | None]:
            return value
        case _:
            return default
