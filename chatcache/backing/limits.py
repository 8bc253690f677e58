"""Stores that hold no more than they may: each write takes away what was not used for long.

What a store holds is counted in the transactions of its entries (`chatcache.backing.ledger`), so that the limits hold
exactly, however many processes write. Which entries are the oldest is found by looking at a few of them at each
eviction, the next few at the next one, and by remembering the oldest that were seen.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from typing import Any

from chatcache._bridge import Colour
from chatcache.clock import Clock, milliseconds
from chatcache.errors import InvalidInputError, InvalidValueError
from chatcache.storage import Storage, Transaction

from .expiry import sweep_some
from .large import Written
from .ledger import Total, Use, count, delete_entries, list_uses, read_total, read_uses, readable, size_of, use_rows
from .rows import key_of, total_row, use_row
from .store import ObjectStore, Transact

__all__ = ["LimitedStore", "Limits"]

_ABSENT: Any = object()
_SAMPLE = 16  # entries that are looked at for one that is evicted
_POOL = 64  # of the oldest that were seen
_HITS = 256  # that are noted before they are written
_NOTED = 1024  # entries whose uses are kept where they cannot be written
_MOST = 64  # that a write takes away beyond the room that it needs itself
_EVICTIONS = 32  # until space is given back


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a store may hold.

    Attributes:
        max_entries: the greatest number of entries, or None.
        max_bytes: the most bytes of all keys, values and notes, as they are stored, or None.

    Raises:
        InvalidInputError: one of them is no whole number from 1 on.
    """

    max_entries: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_entries", "max_bytes"):
            limit = getattr(self, name)
            if limit is not None and (type(limit) is not int or limit < 1):
                raise InvalidInputError(f"{name}={limit!r:.200}: pass a whole number from 1 on, or None for no limit")

    def allow(self, total: Total) -> bool:
        """Return whether a store may hold so much."""
        entries, size = total
        return (self.max_entries is None or entries <= self.max_entries) and (
            self.max_bytes is None or size <= self.max_bytes
        )


class LimitedStore(ObjectStore):
    """The entries of an escaped id, no more than limits allow.

    That an entry was read is noted in memory, and written with the next write of this store, or beside the program
    after 256 hits: what a program notes after its last write may be lost, and then entries count as older than they
    are.

    Args:
        storage: the object's storage.
        store: the escaped id.
        clock: gives the time in seconds since the epoch.
        sweeps: whether to set the alarm for what expires.
        tidies: whether a read deletes what it finds expired, and notes what it used.
        limits: how much it may hold.
        evicted: is told how many entries a write took away.
    """

    def __init__(  # noqa: PLR0913 - all by keyword
        self,
        storage: Storage,
        store: str,
        *,
        clock: Clock,
        sweeps: bool,
        tidies: bool,
        limits: Limits,
        evicted: Callable[[int], None] | None,
    ) -> None:
        super().__init__(storage, store, clock=clock, sweeps=sweeps, tidies=tidies)
        self._limits = limits
        self._evicted = evicted
        self._uses: dict[str, int] = {}  # when entries were used that is not written yet, by the keys of their rows
        self._hits = self._evictions = 0
        self._gives_back = False  # whether there is more space to be given back, with the next write
        self._pool: dict[str, int] = {}  # when the oldest entries that were seen were last used
        self._seen = ""  # the last that was looked at

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a live entry, or `default`."""
        value = super().get(key, _ABSENT)
        if value is _ABSENT:
            return default
        self._note_uses([key])
        return value

    async def aget(self, key: str, default: Any = None) -> Any:
        """Awaiting twin of `get`."""
        value = await super().aget(key, _ABSENT)
        if value is _ABSENT:
            return default
        self._note_uses([key])
        return value

    async def _get_many(self, colour: Colour, keys: Sequence[str], default: Any) -> list[Any]:
        values = await super()._get_many(colour, keys, _ABSENT)
        self._note_uses([key for key, value in zip(keys, values, strict=True) if value is not _ABSENT])
        return [default if value is _ABSENT else value for value in values]

    async def _put(self, colour: Colour, made: Mapping[str, Written], transact: Transact | None = None) -> bool:
        most = self._limits.max_bytes
        for row, each in made.items():
            size = size_of(row, each.rows)
            if most is not None and size > most:
                raise InvalidValueError(
                    f"under the key {key_of(row)!r:.60} the entry takes {size:,} bytes: the store holds at most "
                    f"{most:,}, which Limits(max_bytes=) sets"
                )
        evicted = await (transact or self._transact)(colour, partial(self._put_and_evict, made=made))
        if evicted is None:
            return False
        if evicted and self._evicted is not None:
            self._evicted(evicted)
        self._evictions += evicted
        if self._evictions >= _EVICTIONS or self._gives_back:
            self._evictions = 0
            self._gives_back = await colour(self._storage.give_back, self._storage.agive_back)
        return True

    async def _is_counted(self, colour: Colour) -> bool:  # noqa: ARG002 - as that of the base
        return True

    def _put_and_evict(self, inner: Transaction, made: Mapping[str, Written]) -> int:
        """Write entries and evict others; return how many."""
        before, total = self._put_within(inner, made, self._noted())
        now, swept = milliseconds(self._clock), 0
        while not self._suffices(total, before, swept):  # what expired goes first
            found = sweep_some(inner, store=self._store, most=_MOST, now=now)
            total = read_total(inner, self._store) or count(inner, self._store)
            swept += found
            if not found:
                return self._evict(inner, before, total, made)
        return 0

    def _suffices(self, total: Total, before: Total, taken: int) -> bool:
        """Return whether a write took enough away: all that is too much, or where that is a lot, its share of it."""
        return self._limits.allow(total) or (taken >= _MOST and total[0] <= before[0] and total[1] <= before[1])

    def _evict(self, inner: Transaction, before: Total, total: Total, written: Collection[str]) -> int:
        """Delete the oldest entries until it suffices; those just written go last. Return how many were deleted."""
        victims: set[str] = set()
        counted = total
        self._seen = self._seen or use_row(next(iter(written), ""))
        while not self._suffices(total, before, len(victims)):
            self._look(inner, counted[0], victims, written)
            if not self._pool:
                break
            if all(row in written for row in self._pool):
                written = ()  # there are no others
            victim = min(self._pool, key=lambda row: (row in written, self._pool[row]))
            noted = self._pool.pop(victim)
            known = read_uses(inner, [victim])
            use = known.get(victim)
            if use is not None and use.used > noted:
                self._pool[victim] = use.used  # it was used since it was seen
            elif known:
                victims.add(victim)
                total = total[0] - 1, total[1] - (use.size if use else 0)
        cells = readable(inner, victims)
        delete_entries(inner, {row: cells.get(row) for row in victims})
        if not self._suffices(total, before, len(victims)):  # there are fewer than were counted
            inner.change({total_row(self._store): None})
        return len(victims)

    def _look(self, inner: Transaction, entries: int, victims: Collection[str], written: Collection[str]) -> None:
        """Look at a few more entries, at all where only those just written are found; remember the oldest."""
        looked = 0
        while True:
            seen = self._next(inner)
            looked += len(seen)
            pool = self._pool | {row: use.used if use else 0 for row, use in seen.items() if row not in victims}
            self._pool = {row: pool[row] for row in nsmallest(_POOL, pool, key=lambda row: (row in written, pool[row]))}
            if not seen or looked >= entries or any(row not in written for row in self._pool):
                return

    def _next(self, inner: Transaction) -> dict[str, Use | None]:
        """Return what is known of the next few entries, after the last ones of the first."""
        seen = list_uses(inner, self._store, start_after=self._seen, limit=_SAMPLE)
        if len(seen) < _SAMPLE:
            seen |= list_uses(inner, self._store, start_after=None, limit=_SAMPLE - len(seen))
        self._seen = use_row(next(reversed(seen))) if seen else ""
        return seen

    def _note_uses(self, keys: Sequence[str]) -> None:
        if not self._tidies:
            return
        now, before = milliseconds(self._clock), self._hits // _HITS
        uses = self._uses
        for key in keys:
            row = self._row(key)
            uses.pop(row, None)  # so that the latest stand last
            uses[row] = now
        if len(uses) > 2 * _NOTED:
            self._uses = dict([*uses.copy().items()][-_NOTED:])
        self._hits += len(keys)
        if self._hits // _HITS > before:
            self._storage.sweep(self._write_uses)

    def _noted(self) -> Mapping[str, int]:
        """Return the uses that are to be written; from now on others are noted."""
        noted, self._uses = self._uses, {}
        return noted.copy()  # in one step: another thread may be about to note one more in it

    def _write_uses(self, inner: Transaction) -> None:
        noted = self._noted()
        inner.change(use_rows(noted, read_uses(inner, noted)))
