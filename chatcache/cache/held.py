"""What a cache holds while a tape is in: records and counts of its own, in memory, that begin empty.

The program's cache works on them as on its store, with its modes, TTLs and limits. Its file is neither read nor
written. They belong to the tape, so that all caches of one store see the same ones, also one that is closed and opened
again, and they are gone with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatcache._bridge import Colour, RLock
from chatcache.backing import Limits
from chatcache.clock import Clock, milliseconds
from chatcache.codec import decode, encode
from chatcache.ttl import TTL, expires_at

from .statistics import Tally

__all__ = ["Held", "HeldStore", "Row"]


@dataclass(slots=True)
class Row:
    """An entry.

    Attributes:
        read: returns its value, a new object each time.
        expires: when it expires, in milliseconds since the epoch, or None.
        note: returns its note.
        size: how many bytes it takes.
    """

    read: Callable[[], Any]
    expires: int | None = None
    note: Callable[[], Any] | None = None
    size: int = 0


@dataclass(slots=True)
class Held:
    """The records of one store, least recently used first, and what was counted for it.

    Attributes:
        rows: the entries by their keys.
        tally: what was counted.
        lock: held by whoever looks for a record and stores one in one step.
    """

    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    tally: Tally = field(default_factory=Tally)
    lock: Any = field(default_factory=RLock)


class HeldStore:
    """What `chatcache.backing.ObjectStore` is to an object, to what a tape holds.

    Args:
        held: returns what is held for the call at hand.
        limits: how much there may be.
        evicted: is told how many entries a write took away.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(
        self, held: Callable[[], Held], limits: Limits, evicted: Callable[[int], None], *, clock: Clock
    ) -> None:
        self._held = held
        self._limits = limits
        self._evicted = evicted
        self._clock = clock
        self._is_limited = limits != Limits()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a live entry, or `default`."""
        row = self._live(key)
        return default if row is None else row.read()

    async def aget(self, key: str, default: Any = None) -> Any:
        """Awaiting twin of `get`."""
        return self.get(key, default)

    def recall(self, _key: str) -> Any:
        """Say that nothing is found in fewer steps than by `get`."""
        return None

    def get_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        """Return one slot for each key, `default` where there is no live entry."""
        return [self.get(key, default) for key in keys]

    async def aget_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        """Awaiting twin of `get_many`."""
        return self.get_many(keys, default)

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of all entries, in their order."""
        return iter(sorted(self._held().rows))

    def note(self, key: str) -> Any:
        """Return the note of a live entry, or None."""
        row = self._live(key)
        return None if row is None or row.note is None else row.note()

    async def anote(self, key: str) -> Any:
        """Awaiting twin of `note`."""
        return self.note(key)

    def set(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        """Store a value, and a note, over whatever was there."""
        data, noted = encode(value), encode(note)
        self.put(key, lambda: decode(data), ttl, note=lambda: decode(noted), size=len(data) + len(noted))

    async def keep(self, _colour: Colour, key: str, value: Any, ttl: TTL, *, note: Any, lease: object) -> bool:
        """Store a value as `set` does; there is no other process, so there is no lease."""
        del lease
        self.set(key, value, ttl, note=note)
        return True

    def set_many(self, entries: Iterable[tuple[str, Any, TTL]], *, notes: Mapping[str, Any] | None = None) -> None:
        """Store entries, and the notes of some of them."""
        for key, value, ttl in entries:
            self.set(key, value, ttl, note=(notes or {}).get(key))

    def put(self, key: str, read: Callable[[], Any], ttl: TTL, *, note: Callable[[], Any], size: int) -> None:
        """Store what makes a value, and evict what there is no room for.

        Args:
            key: the key.
            read: returns the value, a new object each time.
            ttl: how long it lives.
            note: returns its note.
            size: how many bytes that takes.
        """
        rows = self._held().rows
        rows.pop(key, None)
        rows[key] = Row(read, expires_at(ttl, milliseconds(self._clock)), note, len(key) + size)
        gone = 0
        while self._is_limited and not self._limits.allow((len(rows), sum(each.size for each in rows.values()))):
            rows.pop(next(iter(rows)))
            gone += 1
        if gone:
            self._evicted(gone)

    def remove(self, key: str) -> None:
        """Remove an entry."""
        self._held().rows.pop(key, None)

    async def aremove(self, key: str) -> None:
        """Awaiting twin of `remove`."""
        self.remove(key)

    def clear(self) -> None:
        """Remove every entry."""
        self._held().rows.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        self.clear()

    def _live(self, key: str) -> Row | None:
        rows = self._held().rows
        row = rows.get(key)
        if row is None:
            return None
        if row.expires is not None and row.expires <= milliseconds(self._clock):
            rows.pop(key, None)
            return None
        if self._is_limited:  # it is used last now
            rows.pop(key, None)
            rows[key] = row
        return row
