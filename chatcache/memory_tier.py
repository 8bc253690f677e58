"""What was used lately, in memory, for a while."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from ._bridge import Lock, anew_in_children
from .clock import Clock, milliseconds

__all__ = ["MemoryTier"]

V = TypeVar("V")


class MemoryTier(Generic[V]):
    """Values under keys, the least recently used dropped first.

    Args:
        capacity: how many there may be.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, capacity: int, clock: Clock) -> None:
        self._capacity = capacity
        self._clock = clock
        self._entries: dict[Hashable, tuple[V, int | None]] = {}  # in the order of their use
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have a lock that nobody holds: for a child process, which has none of its parent's other threads."""
        self._lock = Lock()

    def get(self, key: Hashable) -> V | None:
        """Return the value of a key, or None where there is none, or it expired."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None or self._is_over(entry[1]):
                return None
            self._entries[key] = entry
            return entry[0]

    def set(self, key: Hashable, value: V, expires: int | None) -> None:
        """Hold a value until a time, in milliseconds since the epoch, or None for no limit."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (value, expires)
            while len(self._entries) > self._capacity:
                del self._entries[next(iter(self._entries))]

    def pop(self, key: Hashable) -> V | None:
        """Drop the value of a key, and return it, or None where there is none, or it expired."""
        with self._lock:
            entry = self._entries.pop(key, None)
        return None if entry is None or self._is_over(entry[1]) else entry[0]

    def _is_over(self, expires: int | None) -> bool:
        return expires is not None and expires <= milliseconds(self._clock)
