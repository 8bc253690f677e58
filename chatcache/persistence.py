"""Typed stores: how requests ended, under their keys, over any backing store.

This is Effect's ``Persistence`` (statements 19-29 of its contract). A row is what `chatcache.exit` describes, with two
more fields: ``at``, when it was written, and ``until``, when it expires, in milliseconds since the epoch.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._bridge import CANCELLATIONS, Colour, awaiting, blocking, drive
from .backing import Backing, BackingStore, Entry
from .clock import Clock, milliseconds
from .errors import DecodeError, InvalidValueError, PersistenceError, shown
from .exit import Exit, ExitForm, Failure
from .schema import Persistable
from .ttl import TTL, expires_at, parse_ttl

__all__ = ["Persistence", "PersistenceStore", "Stored", "TTLRule"]

T = TypeVar("T")
Errors = Collection[type[Exception]] | Mapping[str, type[Exception]]

TTLRule = TTL | Callable[[Any, Any], TTL]
"""How long an exit is kept: seconds, a timedelta, None for ever; or a function of the exit and its request."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """What a row says.

    Attributes:
        exit: how the request ended.
        written: when, in milliseconds since the epoch; 0 where the row does not say.
        expires: until when it is kept, in the same unit; None for ever.
    """

    exit: Exit[T]
    written: int
    expires: int | None


class Persistence:
    """Makes typed stores over a backing.

    Args:
        backing: such as `chatcache.MemoryPersistence`, or `chatcache.DurableObjectPersistence`.
        clock: gives the time in seconds since the epoch; the backing has one of its own.
    """

    def __init__(self, backing: Backing, *, clock: Clock = time.time) -> None:
        self._backing = backing
        self._clock = clock

    def make(self, store_id: str, *, ttl: TTLRule = None, errors: Errors = ()) -> "PersistenceStore":
        """Return the store of an id; two of one id see the same rows.

        Args:
            store_id: its namespace in the backing: 1 to 512 bytes of UTF-8.
            ttl: how long an exit is kept. A function is called as ``ttl(exit, request)``, once a write. What it says of
                a failure decides how long that is replayed. Where it is zero or less, nothing is written, and what is
                there stays.
            errors: the exception classes that are made again when they are read, or a mapping of the names that they
                are stored by. All others are read as `chatcache.ReplayedError`.

        Raises:
            InvalidNameError: the id is none.
            InvalidTTLError: the TTL is none.
            InvalidInputError: one of the errors is no exception class.
        """
        if not callable(ttl):
            parse_ttl(ttl)
        return PersistenceStore(self._backing.make(store_id), ttl, ExitForm(errors), self._clock)


class PersistenceStore:
    """How requests ended, each under the ``primary_key()`` of its request.

    Each method raises `chatcache.PersistenceError` where the backing fails. They are made by `Persistence`.
    """

    def __init__(self, backing: BackingStore, ttl: TTLRule, form: ExitForm, clock: Clock) -> None:
        self._backing = backing
        self._ttl = ttl
        self._form = form
        self._clock = clock

    def get(self, request: Persistable[T]) -> Exit[T] | None:
        """Return how a request ended, or None where nothing is stored.

        Raises:
            DecodeError: what is stored is no exit of this request; it stays where it is.
        """
        stored = self.read(request)
        return None if stored is None else stored.exit

    async def aget(self, request: Persistable[T]) -> Exit[T] | None:
        """Awaiting twin of `get`."""
        stored = await self.aread(request)
        return None if stored is None else stored.exit

    def read(self, request: Persistable[T]) -> Stored[T] | None:
        """Return what `get` returns, with when it was written and when it expires.

        Raises:
            DecodeError: as `get`.
        """
        return self._stored(self._backing.get(request.primary_key()), request)

    async def aread(self, request: Persistable[T]) -> Stored[T] | None:
        """Awaiting twin of `read`."""
        return self._stored(await self._backing.aget(request.primary_key()), request)

    def get_many(self, requests: Iterable[Persistable[T]]) -> list[Exit[T] | None]:
        """Return one slot for each request, in their order: how it ended, or None where nothing is stored.

        What cannot be read is None as well. Its row is removed, before this returns; that the removal fails does no
        harm to the others.
        """
        return drive(self._get_many(blocking, [*requests]))

    async def aget_many(self, requests: Iterable[Persistable[T]]) -> list[Exit[T] | None]:
        """Awaiting twin of `get_many`."""
        return await self._get_many(awaiting, [*requests])

    def set(self, request: Persistable[T], exit_: Exit[T]) -> None:
        """Store how a request ended, over what was there.

        Raises:
            InvalidValueError: it cannot be stored: a schema of the request refuses it, or it is a cancellation.
            InvalidTTLError: the TTL function gave no TTL.
        """
        for entry in self._entries([(request, exit_)]):
            self._backing.set(*entry)

    async def aset(self, request: Persistable[T], exit_: Exit[T]) -> None:
        """Awaiting twin of `set`."""
        for entry in self._entries([(request, exit_)]):
            await self._backing.aset(*entry)

    def set_many(self, exits: Iterable[tuple[Persistable[Any], Exit[Any]]]) -> None:
        """Store how requests ended: all of them, or none.

        Raises:
            InvalidValueError: one of them cannot be stored.
            InvalidTTLError: as `set`.
        """
        if entries := self._entries(exits):
            self._backing.set_many(entries)

    async def aset_many(self, exits: Iterable[tuple[Persistable[Any], Exit[Any]]]) -> None:
        """Awaiting twin of `set_many`."""
        if entries := self._entries(exits):
            await self._backing.aset_many(entries)

    def extend(self, request: Persistable[T], stored: Stored[T]) -> None:
        """Store what was read once more, as old as it is, for as long as if it were written now."""
        for entry in self._entries([(request, stored.exit)], stored.written):
            self._backing.set(*entry)

    async def aextend(self, request: Persistable[T], stored: Stored[T]) -> None:
        """Awaiting twin of `extend`."""
        for entry in self._entries([(request, stored.exit)], stored.written):
            await self._backing.aset(*entry)

    def remove(self, request: Persistable[Any]) -> None:
        """Remove what is stored for a request, if anything is."""
        self._backing.remove(request.primary_key())

    async def aremove(self, request: Persistable[Any]) -> None:
        """Awaiting twin of `remove`."""
        await self._backing.aremove(request.primary_key())

    def clear(self) -> None:
        """Remove every row of this store, and of no other."""
        self._backing.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._backing.aclear()

    def ttl(self, request: Persistable[T], exit_: Exit[T]) -> TTL:
        """Return how long such an exit is kept.

        Raises:
            Exception: whatever a function of the caller's raises.
        """
        return self._ttl(exit_, request) if callable(self._ttl) else self._ttl

    async def _get_many(self, colour: Colour, requests: list[Persistable[T]]) -> list[Exit[T] | None]:
        if not requests:
            return []
        keys = [request.primary_key() for request in requests]
        rows = await colour(self._backing.get_many, self._backing.aget_many, keys)
        if len(rows) != len(keys):
            raise PersistenceError(
                f"expected {len(keys)} results but got {len(rows)} from the backing store: its get_many must fill one "
                "slot for each key"
            )
        return [await self._readable(colour, row, request) for row, request in zip(rows, requests, strict=True)]

    async def _readable(self, colour: Colour, row: Any, request: Persistable[T]) -> Exit[T] | None:
        try:
            stored = self._stored(row, request)
        except DecodeError:
            with suppress(PersistenceError):
                await colour(self.remove, self.aremove, request)
            return None
        return None if stored is None else stored.exit

    def _stored(self, row: Any, request: Persistable[T]) -> Stored[T] | None:
        if row is None:
            return None
        return Stored(self._form.decode(row, request), _moment(row.get("at")) or 0, _moment(row.get("until")))

    def _entries(self, exits: Iterable[tuple[Persistable[Any], Exit[Any]]], written: int | None = None) -> list[Entry]:
        """Return what is to be written: nothing of an exit whose TTL is not positive."""
        now = milliseconds(self._clock)
        entries: list[Entry] = []
        for request, exit_ in exits:
            ttl = self.ttl(request, exit_)
            until = expires_at(ttl, now)
            if until is None or until > now:
                row = self._row(request, exit_) | {"at": now if written is None else written}
                entries.append((request.primary_key(), row if until is None else row | {"until": until}, ttl))
        return entries

    def _row(self, request: Persistable[Any], exit_: Exit[Any]) -> dict[str, Any]:
        if isinstance(exit_, Failure) and isinstance(exit_.error, CANCELLATIONS):
            raise InvalidValueError(f"{shown(exit_)} is a cancellation, which is no result to keep; raise it")
        return self._form.encode(exit_, request)


def _moment(value: Any) -> int | None:
    return value if isinstance(value, int) else None
