"""A cache of requests: in memory, then in a store, then the caller's lookup.

This is Effect's ``PersistedCache`` (statements 30-42 of its contract), with the better behaviour where it has quirks:
a cancellation is not kept, nor is an error of the store, and an answer is not lost because it could not be stored.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from chatcache.interrupts import raise_interrupt

from ._bridge import CANCELLATIONS, Colour, Flights, awaiting, blocking, drive
from .clock import milliseconds
from .errors import CorruptRecordError, DecodeError, InvalidInputError, shown
from .exit import Exit, Failure, Success, outcome
from .memory_tier import MemoryTier
from .persistence import Errors, Persistence, Stored, TTLRule
from .schema import Persistable
from .store_errors import OnStoreError, StoreErrors, as_persistence_error
from .ttl import TTL, expires_at, parse_ttl

__all__ = ["PersistedCache"]

T = TypeVar("T")
_Key = tuple[type, str]


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    """What a request was answered with, and whether the lookup was asked for it."""

    stored: Stored[T]
    looked_up: bool


class PersistedCache(Generic[T]):
    """Answers requests: from memory, else from a store, else by a lookup whose exit is then kept.

    A failure is kept, and raised again, for as long as the TTL says. However many threads and tasks ask for one
    request at a time, one of them makes the lookup, with its own context variables; the others get the very same value
    or exception. Values from memory are shared as well: do not change them.

    Args:
        persistence: the stores.
        store_id: the id of the one that is used.
        ttl: how long an exit is kept, see `Persistence.make`. Without one that is positive it is not kept at all.
        lookup: gives the answer to a request, for `get`.
        alookup: the same, awaited, for `aget`.
        errors: the exception classes that are made again, see `Persistence.make`.
        memory_ttl: how long a value is held in memory, at most; not longer than in the store. None is for as long as
            there.
        memory_capacity: how many values are held in memory; the least recently used is dropped first.
        sliding: whether a hit extends the life of what is stored to a whole TTL again. So that not every hit writes,
            one does so where more than a tenth of the TTL is gone; and a value is held in memory for at most a tenth.
        on_store_error: what to do if the store fails. ``bypass``: the call proceeds without it; the failure is counted,
            and logged once per kind by the logger ``chatcache``. ``raise``: the error is raised, whether
            or not the lookup was made.

    Attributes:
        bypassed: how many reads and writes of the store failed, and were gone without.

    Raises:
        InvalidInputError: an argument cannot be right.
    """

    def __init__(  # noqa: PLR0913 - all by keyword, nearly all with a default
        self,
        persistence: Persistence,
        store_id: str,
        *,
        ttl: TTLRule,
        lookup: Callable[[Any], T] | None = None,
        alookup: Callable[[Any], Awaitable[T]] | None = None,
        errors: Errors = (),
        memory_ttl: TTL = 10,
        memory_capacity: int = 1_024,
        sliding: bool = False,
        on_store_error: OnStoreError = "bypass",
    ) -> None:
        if not isinstance(memory_capacity, int) or memory_capacity < 0:
            raise InvalidInputError(f"memory_capacity={shown(memory_capacity)}: pass a whole number from 0 on")
        parse_ttl(memory_ttl)
        self._store = persistence.make(store_id, ttl=ttl, errors=errors)
        self._clock = persistence.clock
        self._lookup = lookup or _absent
        self._alookup = alookup or _absent
        self._memory: MemoryTier[Stored[T]] = MemoryTier(memory_capacity, self._clock)
        self._memory_ttl = memory_ttl
        self._sliding = sliding
        self._errors = StoreErrors(store_id, on_store_error, self._bypassed)
        self._flights: Flights[_Found[T]] = Flights()
        self.bypassed = 0

    def get(self, request: Persistable[T], *, max_age: TTL = None) -> T:
        """Return the answer to a request, or raise the error that it ended with.

        Args:
            request: what is asked for.
            max_age: how old the answer may be: less than so many seconds, or than a timedelta. What is older is not
                used, and the lookup's answer is stored over it. None: as old as the store keeps it.

        Raises:
            Exception: what the lookup raises, now or when its failure was recorded: see `Persistence.make`.
            PersistenceError: the store failed, with ``on_store_error="raise"``.
            InvalidInputError: the cache was made without ``lookup=``; or without ``alookup=``, for `aget`.
        """
        if self._lookup is _absent:
            raise InvalidInputError("get() needs a lookup: pass lookup= to PersistedCache, or use aget()")
        return outcome(drive(self._get(blocking, request, parse_ttl(max_age))))

    async def aget(self, request: Persistable[T], *, max_age: TTL = None) -> T:
        """Awaiting twin of `get`."""
        if self._alookup is _absent:
            raise InvalidInputError("aget() needs a lookup: pass alookup= to PersistedCache, or use get()")
        return outcome(await self._get(awaiting, request, parse_ttl(max_age)))

    def invalidate(self, request: Persistable[Any]) -> None:
        """Forget the answer to a request: in the store, then in memory. The next one who asks has it looked up.

        A lookup that is going on is not joined any more; its exit is stored all the same.

        Raises:
            PersistenceError: the store failed; what is in memory is still used.
        """
        self._store.remove(request)
        self._forget(request)

    async def ainvalidate(self, request: Persistable[Any]) -> None:
        """Awaiting twin of `invalidate`."""
        await self._store.aremove(request)
        self._forget(request)

    async def _get(self, colour: Colour, request: Persistable[T], max_age: int | None) -> Exit[T]:
        key = _key(request)
        while True:
            held = self._memory.get(key)
            if held is not None and self._young(held, max_age):
                return held.exit
            found, joined = await self._shared(colour, key, request, max_age)
            if not joined or found.looked_up or self._young(found.stored, max_age):
                return found.stored.exit

    async def _shared(
        self, colour: Colour, key: _Key, request: Persistable[T], max_age: int | None
    ) -> tuple[_Found[T], bool]:
        """Find the answer, or wait for who is finding it."""

        def run() -> tuple[_Found[T], bool]:
            return self._flights.run(key, lambda: drive(self._find(blocking, request, max_age)))

        async def arun() -> tuple[_Found[T], bool]:
            return await self._flights.arun(key, lambda: self._find(awaiting, request, max_age))

        return await colour(run, arun)

    async def _find(self, colour: Colour, request: Persistable[T], max_age: int | None) -> _Found[T]:
        held = self._memory.get(_key(request))  # once more: the one who found it may just have finished
        if held is not None and self._young(held, max_age):
            return _Found(held, looked_up=False)
        stored = await self._read(colour, request)
        if stored is not None and self._young(stored, max_age):
            stored = await self._extended(colour, request, stored)
            self._hold(request, stored)
            return _Found(stored, looked_up=False)
        stored = await self._kept(colour, request, await self._looked_up(colour, request))
        self._hold(request, stored)
        return _Found(stored, looked_up=True)

    async def _read(self, colour: Colour, request: Persistable[T]) -> Stored[T] | None:
        try:
            return await colour(self._store.read, self._store.aread, request)
        except (DecodeError, CorruptRecordError):
            return None  # it is written over
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the lookup is made
            self._errors.handle(as_persistence_error(error))
            return None

    async def _looked_up(self, colour: Colour, request: Persistable[T]) -> Exit[T]:
        try:
            return Success(await colour(self._lookup, self._alookup, request))
        except CANCELLATIONS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is how the request ended
            raise_interrupt(error)
            return Failure(error)

    async def _kept(self, colour: Colour, request: Persistable[T], exit_: Exit[T]) -> Stored[T]:
        """Store an exit. What could not be stored is held in memory, as if it were."""
        now = milliseconds(self._clock)
        stored = Stored(exit_, now, now)
        try:
            stored = self._store.stamp(request, exit_)
            await colour(self._store.write, self._store.awrite, request, stored)
        except Exception as error:  # noqa: BLE001 - the store's, a schema's, the TTL function's: the answer is there
            raise_interrupt(error)
            self._errors.handle(error)
        return stored

    async def _extended(self, colour: Colour, request: Persistable[T], stored: Stored[T]) -> Stored[T]:
        """Return what was read, after its life was extended if that is due."""
        if not self._sliding or stored.expires is None:
            return stored
        try:
            again = self._store.stamp(request, stored.exit, stored.written)
            if again.expires is None or not self._due(stored.expires, again.expires):
                return stored
            await colour(self._store.write, self._store.awrite, request, again)
        except Exception as error:  # noqa: BLE001 - as above
            raise_interrupt(error)
            self._errors.handle(error)
            return stored
        return again

    def _due(self, before: int, after: int) -> bool:
        """Return whether a life that ends at a time is to be extended to another one."""
        return (after - before) * 10 > after - milliseconds(self._clock)

    def _hold(self, request: Persistable[T], stored: Stored[T]) -> None:
        """Hold a value in memory. A failure is read from the store again, as a new exception each time."""
        if not isinstance(stored.exit, Success):
            return
        now = milliseconds(self._clock)
        ends = [expires_at(self._memory_ttl, now), stored.expires]
        if self._sliding and stored.expires is not None:
            ends.append(now + (stored.expires - now) // 10)
        until = min((end for end in ends if end is not None), default=None)
        if until is None or until > now:
            self._memory.set(_key(request), stored, until)

    def _young(self, stored: Stored[T], max_age: int | None) -> bool:
        return max_age is None or stored.written + max_age > milliseconds(self._clock)

    def _forget(self, request: Persistable[Any]) -> None:
        self._memory.pop(_key(request))
        self._flights.forget(_key(request))

    def _bypassed(self) -> None:
        self.bypassed += 1


def _absent(_request: Any) -> Any:
    """Stand for the lookup of a colour that has none; it is never called."""


def _key(request: Persistable[Any]) -> _Key:
    """Return what a request is held under in memory: two classes may share a row, but no value."""
    return type(request), request.primary_key()
