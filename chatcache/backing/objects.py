"""Backing persistence in the storage of one object, every store id in a namespace of its own.

After Alchemy's ``DurableObjectChatPersistence``, with its three defects mended: the TTL is kept, the store id is
escaped, and any number of keys may be passed.
"""

from collections.abc import Callable, Iterator

from chatcache.clock import Clock
from chatcache.storage import Storage

from .limits import LimitedStore, Limits
from .names import check_store_id
from .rows import escape, store_of, unescape
from .store import ObjectStore

__all__ = ["DurableObjectPersistence"]


class DurableObjectPersistence:
    """Makes backing stores in the storage of one object.

    An entry that expired is deleted when it is met. The others are deleted if the namespace was made with
    ``alarm=sweep_expired`` and this with ``sweeps=True``, which has the alarm of the object set.

    Args:
        storage: the object's storage.
        clock: gives the time in seconds since the epoch; by default that of the namespace, which is also what
            `sweep_expired` goes by.
        sweeps: whether the handler of the namespace's alarms is `sweep_expired`; where the namespace has none, a write
            with a TTL raises `InvalidInputError`.
        tidies: whether a read deletes what it finds expired, and notes what it used where there are limits. With False
            whoever only reads leaves the file as it is, byte for byte.
    """

    def __init__(
        self, storage: Storage, *, clock: Clock | None = None, sweeps: bool = False, tidies: bool = True
    ) -> None:
        self._storage = storage
        self._clock = clock or storage.clock
        self._sweeps = sweeps
        self._tidies = tidies

    def make(
        self, store_id: str, *, limits: Limits | None = None, evicted: Callable[[int], None] | None = None
    ) -> ObjectStore:
        """Return the store of an id; two of one id see the same entries.

        Args:
            store_id: the id.
            limits: how much the store may hold. Whoever writes to it should have the same: what is written without
                limits stays until the next write of one who has some. They are reached some entries at a time where
                the store holds more.
            evicted: is told how many entries that had not expired a write took away, after it was committed.

        Raises:
            InvalidNameError: the id is no str of 1 to 512 bytes of UTF-8.
        """
        store = escape(check_store_id(store_id))
        if limits is None or limits == Limits():
            return ObjectStore(self._storage, store, clock=self._clock, sweeps=self._sweeps, tidies=self._tidies)
        return LimitedStore(
            self._storage,
            store,
            clock=self._clock,
            sweeps=self._sweeps,
            tidies=self._tidies,
            limits=limits,
            evicted=evicted,
        )

    def store_ids(self) -> Iterator[str]:
        """Yield the ids of the stores that have entries, in the order of their rows; the rows between are not read.

        Raises:
            StorageError: the file cannot be read.
        """
        start = ""
        while found := next(iter(self._storage.sizes(start=start, limit=1)), None):
            store = store_of(found)
            store_id = unescape(store)
            if store_id is not None and found != store:
                yield store_id
            start = f"{store};" if found != store else f"{found}\0"  # the character after ":"
