"""What all caches of one store have in common in this process: the calls and streams that are under way."""

from typing import Any

from chatcache._bridge import Broadcasts, Flights, Shared

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
        return _SHARINGS.of((location, store_id), cls)


_SHARINGS: Shared[tuple[str, str], Sharing] = Shared()
