"""Typed stores: how requests ended, under their keys, over any backing store.

This is Effect's ``Persistence`` (statements 19-29 of its contract). A row is what `chatcache.exit` describes, with two
more fields: ``at``, when it was written, and ``until``, when it expires, in milliseconds since the epoch.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from chatcache.interrupts import suppress

from ._bridge import CANCELLATIONS, Colour, awaiting, blocking, drive
from .backing import Backing, BackingStore, Entry
from .clock import Clock, milliseconds, now
from .errors import DecodeError, InvalidValueError, PersistenceError, shown
from .exit import Exit, ExitForm, Failure
from .schema import Persistable
from .ttl import TTL, expires_at, parse_ttl

__all__ = ["Persistence", "PersistenceStore", "Stored", "TTLRule"]

T = TypeVar("T")
Errors = Collection[type[Exception]] | Mapping[str, type[Exception]]

TTLRule = TTL | Callable[[Any, Any], TTL]
"""How long an exit is kept: seconds, a timedelta, None for no limit; or a function of the exit and its request."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """What a row says.

    Attributes:
        exit: how the request ended.
        written: when, in milliseconds since the epoch; 0 where the row does not say.
        expires: until when it is kept, in the same unit; None for no limit.
    """

    exit: Exit[T]
    written: int
    expires: int | None


class Persistence:
    """Makes typed stores over a backing.

    Args:
        backing: such as `chatcache.MemoryPersistence`, or `chatcache.DurableObjectPersistence`.
        clock: gives the time in seconds since the epoch; the backing has one of its own.

    Attributes:
        clock: as above.
    """

    def __init__(self, backing: Backing, *, clock: Clock = now) -> None:
        self._backing = backing
        self.clock = clock

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
        return PersistenceStore(self._backing.make(store_id), ttl, ExitForm(errors), self.clock)


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
        self.write(request, self.stamp(request, exit_))

    async def aset(self, request: Persistable[T], exit_: Exit[T]) -> None:
        """Awaiting twin of `set`."""
        await self.awrite(request, self.stamp(request, exit_))

    def set_many(self, exits: Iterable[tuple[Persistable[Any], Exit[Any]]]) -> None:
        """Store how requests ended: all of them, or none.

        Raises:
            InvalidValueError: one of them cannot be stored.
            InvalidTTLError: as `set`.
        """
        if entries := self._entries((request, self.stamp(request, exit_)) for request, exit_ in exits):
            self._backing.set_many(entries)

    async def aset_many(self, exits: Iterable[tuple[Persistable[Any], Exit[Any]]]) -> None:
        """Awaiting twin of `set_many`."""
        if entries := self._entries((request, self.stamp(request, exit_)) for request, exit_ in exits):
            await self._backing.aset_many(entries)

    def stamp(self, request: Persistable[T], exit_: Exit[T], written: int | None = None) -> Stored[T]:
        """Return an exit with when it is written and when it expires, by the TTL of the store; nothing is stored.

        Args:
            request: whose exit it is.
            exit_: how it ended.
            written: when, in milliseconds since the epoch; by default now. It expires as if it were written now.

        Raises:
            InvalidTTLError: the TTL function gave no TTL.
        """
        now = milliseconds(self._clock)
        ttl = self._ttl(exit_, request) if callable(self._ttl) else self._ttl
        return Stored(exit_, now if written is None else written, expires_at(ttl, now))

    def write(self, request: Persistable[T], stored: Stored[T]) -> None:
        """Store what `stamp` gave, unless it is expired.

        Raises:
            InvalidValueError: as `set`.
        """
        for entry in self._entries([(request, stored)]):
            self._backing.set(*entry)

    async def awrite(self, request: Persistable[T], stored: Stored[T]) -> None:
        """Awaiting twin of `write`."""
        for entry in self._entries([(request, stored)]):
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
            with suppress(Exception):  # it is written over, or removed by the next one who reads it
                await colour(self.remove, self.aremove, request)
            return None
        return None if stored is None else stored.exit

    def _stored(self, row: Any, request: Persistable[T]) -> Stored[T] | None:
        if row is None:
            return None
        return Stored(self._form.decode(row, request), _moment(row.get("at")) or 0, _moment(row.get("until")))

    def _entries(self, rows: Iterable[tuple[Persistable[Any], Stored[Any]]]) -> list[Entry]:
        """Return what is to be written: nothing of what is expired."""
        now = milliseconds(self._clock)
        entries: list[Entry] = []
        for request, stored in rows:
            if stored.expires is None:
                entries.append((request.primary_key(), self._row(request, stored), None))
            elif stored.expires > now:
                row = self._row(request, stored) | {"until": stored.expires}
                entries.append((request.primary_key(), row, (stored.expires - now) / 1000))
        return entries

    def _row(self, request: Persistable[Any], stored: Stored[Any]) -> dict[str, Any]:
        exit_ = stored.exit
        if isinstance(exit_, Failure) and isinstance(exit_.error, CANCELLATIONS):
            raise InvalidValueError(f"{shown(exit_)} is a cancellation, which is no result to keep; raise it")
        return self._form.encode(exit_, request) | {"at": stored.written}


def _moment(value: Any) -> int | None:
    return value if isinstance(value, int) else None
