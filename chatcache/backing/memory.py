"""Backing persistence in the memory of this process, gone with it: for tests, and for what need not last."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatcache._bridge import Lock, anew_in_children
from chatcache.clock import Clock, milliseconds, now
from chatcache.codec import decode, encode
from chatcache.storage.ranges import check_key
from chatcache.ttl import TTL, expires_at

from .names import check_store_id
from .port import BackingStore, Entry

__all__ = ["MemoryPersistence"]

_Row = tuple[bytes, int | None, bytes | None]  # the value, encoded, when it expires, and the note, encoded


class MemoryPersistence:
    """Makes backing stores in memory, for any number of threads and tasks.

    Values are kept as bytes: what a caller changes afterwards is not changed in the store. An expired entry is dropped
    when it is met; nothing else limits how many there are.

    Args:
        clock: gives the time in seconds since the epoch.

    Attributes:
        clock: as above.
        lock: held by whoever looks at the entries.
    """

    def __init__(self, *, clock: Clock = now) -> None:
        self.clock = clock
        self._stores: dict[str, dict[str, _Row]] = {}
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have a lock that nobody holds: for a child process, which has none of its parent's other threads."""
        self.lock = Lock()

    def make(self, store_id: str) -> BackingStore:
        """Return the store of an id; two of one id see the same entries.

        Raises:
            InvalidNameError: the id is no str of 1 to 512 bytes of UTF-8.
        """
        with self.lock:
            return _MemoryStore(self, self._stores.setdefault(check_store_id(store_id), {}))


class _MemoryStore:
    """The entries of one id."""

    def __init__(self, memory: MemoryPersistence, rows: dict[str, _Row]) -> None:
        self._memory = memory
        self._rows = rows

    def get(self, key: str, default: Any = None) -> Any:
        row = self._live(key)
        return default if row is None else decode(row[0])

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    def get_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        return [self.get(key, default) for key in keys]

    async def aget_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        return self.get_many(keys, default)

    def note(self, key: str) -> Any:
        row = self._live(key)
        return None if row is None or row[2] is None else decode(row[2])

    async def anote(self, key: str) -> Any:
        return self.note(key)

    def set(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        self._update([(key, value, ttl)], {key: note})

    async def aset(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        self.set(key, value, ttl, note=note)

    def set_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        self._update(entries, notes or {})

    async def aset_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        self.set_many(entries, notes=notes)

    def remove(self, key: str) -> None:
        with self._memory.lock:
            self._rows.pop(check_key(key), None)

    async def aremove(self, key: str) -> None:
        self.remove(key)

    def clear(self) -> None:
        with self._memory.lock:
            self._rows.clear()

    async def aclear(self) -> None:
        self.clear()

    def _live(self, key: str) -> _Row | None:
        with self._memory.lock:
            row = self._rows.get(check_key(key))
            if row is not None and row[1] is not None and row[1] <= milliseconds(self._memory.clock):
                del self._rows[key]
                return None
            return row

    def _update(self, entries: Iterable[Entry], notes: Mapping[str, Any]) -> None:
        now = milliseconds(self._memory.clock)
        rows = {
            check_key(key): (encode(value), expires_at(ttl, now), _encoded(notes.get(key)))
            for key, value, ttl in entries
        }
        with self._memory.lock:
            self._rows.update(rows)


def _encoded(note: Any) -> bytes | None:
    return None if note is None else encode(note)
