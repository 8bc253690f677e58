"""What all caches of one store have in common in this process: the calls and streams that are under way."""

from typing import Any
from weakref import WeakValueDictionary

from chatcache._bridge import Broadcasts, Flights, Lock, anew_in_children

__all__ = ["Sharing"]


class Sharing:
    """The calls and streams of one store that are under way.

    Attributes:
        flights: the calls.
        broadcasts: the streams.
    """

    def __init__(self) -> None:
        self.flights: Flights[Any] = Flights()
        self.broadcasts: Broadcasts[Any] = Broadcasts()

    @classmethod
    def of(cls, location: str, store_id: str) -> "Sharing":
        """Return that of a store, the same one as long as somebody holds it.

        Args:
            location: the path of the file of its object.
            store_id: its id.
        """
        return _SHARINGS.of(location, store_id)


class _Sharings:
    def __init__(self) -> None:
        self._held: WeakValueDictionary[tuple[str, str], Sharing] = WeakValueDictionary()
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have a lock that nobody holds: for a child process, which has none of its parent's other threads."""
        self._lock = Lock()

    def of(self, location: str, store_id: str) -> Sharing:
        with self._lock:
            found = self._held.get((location, store_id))
            if found is None:
                found = self._held[location, store_id] = Sharing()
            return found


_SHARINGS = _Sharings()
