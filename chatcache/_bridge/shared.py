"""What all who ask for the same in a process have in common."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from .forks import anew_in_children

__all__ = ["Shared"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """One value for each key, the same one as long as somebody holds it."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[K, V] = WeakValueDictionary()
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have a lock that nobody holds: for a child process, which has none of its parent's other threads."""
        self._lock = Lock()

    def of(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key; where nobody holds one, what `make` makes."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                found = self._held[key] = make()
            return found
