"""What key-value stores and queues need of the storage of an object, and a storage in memory that has it."""

from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ._bridge import RLock, anew_in_children, drive
from .clock import Clock, now
from .codec import decode
from .storage.ranges import KeyRange, check_key, key_range, prefix_range

__all__ = ["MemoryStorage", "RowStorage", "Rows", "awaited"]

R = TypeVar("R")


class Rows(Protocol):
    """Values under keys, as a transaction sees them."""

    def get(self, key: str, /) -> Any:
        """Return the value under a key, or None."""
        ...

    def list(self, *, prefix: str = "", end: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """Return keys that begin so with their values, in the order of their UTF-8 bytes."""
        ...

    def change(self, rows: Mapping[str, bytes | None], *, prefixes: Iterable[str] = ()) -> None:
        """Clear prefixes, then write what `chatcache.codec.encode` gave, or delete where it is None."""
        ...


class RowStorage(Rows, Protocol):
    """A storage: that of an object, `chatcache.Storage`, or `MemoryStorage`."""

    @property
    def clock(self) -> Clock:
        """Give the time in seconds since the epoch."""
        ...

    async def aget(self, key: str, /) -> Any:
        """Awaiting twin of `get`."""
        ...

    async def alist(self, *, prefix: str = "", end: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """Awaiting twin of `list`."""
        ...

    def transaction(self, body: Callable[[Rows], R], /) -> R:
        """Return what a body returns. Nobody else writes meanwhile, and whatever it raises undoes what it wrote."""
        ...

    async def atransaction(self, body: Callable[[Rows], Awaitable[R]], /) -> R:
        """Awaiting twin of `transaction`."""
        ...


class MemoryStorage:
    """Values under keys in the memory of this process, gone with it: for tests, and for what need not last.

    Any number of threads and tasks may use it. The body of a transaction must not wait for anything.

    Args:
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, *, clock: Clock = now) -> None:
        self._clock = clock
        self._rows: dict[str, bytes] = {}
        self._keys: list[bytes] = []  # in order
        self._before: dict[str, bytes | None] | None = None  # what the transaction that runs changed, as it was
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have a lock that nobody holds: for a child process, which has none of its parent's other threads."""
        self._lock = RLock()

    @property
    def clock(self) -> Clock:
        """What gives the time in seconds since the epoch."""
        return self._clock

    def get(self, key: str, /) -> Any:
        """Return the value under a key, or None."""
        with self._lock:
            data = self._rows.get(check_key(key))
        return None if data is None else decode(data)

    async def aget(self, key: str, /) -> Any:
        """Awaiting twin of `get`."""
        return self.get(key)

    def list(self, *, prefix: str = "", end: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """Return keys with their values, in order: those that begin with a prefix, and come before an end."""
        bounds = key_range(prefix=prefix, start=None, start_after=None, end=end)
        with self._lock:
            return {key: decode(self._rows[key]) for key in self._within(bounds, limit)}

    async def alist(self, *, prefix: str = "", end: str | None = None, limit: int | None = None) -> dict[str, Any]:
        """Awaiting twin of `list`."""
        return self.list(prefix=prefix, end=end, limit=limit)

    def change(self, rows: Mapping[str, bytes | None], *, prefixes: Iterable[str] = ()) -> None:
        """Clear prefixes, then write rows: encoded values, or None to delete a key."""
        cleared = [prefix_range(prefix) for prefix in prefixes]
        with self._lock:
            gone = [key for bounds in cleared for key in self._within(bounds)]
            for key, data in (dict.fromkeys(gone) | {check_key(key): data for key, data in rows.items()}).items():
                if self._before is not None:
                    self._before.setdefault(key, self._rows.get(key))
                self._write(key, data)

    def transaction(self, body: Callable[[Rows], R], /) -> R:
        """Return what a body returns. Nobody else writes meanwhile, and whatever it raises undoes what it wrote."""
        with self._lock:
            outer, before = self._before, dict[str, bytes | None]()
            self._before = before
            try:
                return body(self)
            except BaseException:
                for key, data in before.items():
                    self._write(key, data)
                raise
            finally:
                self._before = outer
                if outer is not None:
                    outer |= before | outer

    async def atransaction(self, body: Callable[[Rows], Awaitable[R]], /) -> R:
        """Awaiting twin of `transaction`."""

        async def run(rows: Rows) -> R:
            return await body(rows)

        return self.transaction(lambda rows: drive(run(rows)))

    def _within(self, bounds: KeyRange, limit: int | None = None) -> Sequence[str]:
        first = bisect_left(self._keys, bounds.start)
        end = len(self._keys) if bounds.end is None else bisect_left(self._keys, bounds.end)
        return [key.decode() for key in self._keys[first:end][:limit]]

    def _write(self, key: str, data: bytes | None) -> None:
        if data is not None:
            if key not in self._rows:
                insort(self._keys, key.encode())
            self._rows[key] = data
        elif self._rows.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key.encode())]


def awaited(step: Callable[[Rows], R]) -> Callable[[Rows], Awaitable[R]]:
    """Return a step as the body of an awaited transaction. It reads a few rows, in place."""

    async def body(rows: Rows) -> R:
        return step(rows)

    return body
