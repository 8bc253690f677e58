"""Deleting what leaders left and said, when nobody waits for it any more."""

from chatcache._bridge import RENEWALS, Colour, awaiting, blocking, drive
from chatcache.clock import milliseconds, monotonic, real_time
from chatcache.interrupts import suppress
from chatcache.storage import Storage, Transaction

from .batch import Batch
from .following import END
from .rows import LeaseRow

__all__ = ["Sweep"]

_EVERY = 60.0  # seconds between two looks for what killed processes left
_MOST = 1000  # rows


class Sweep:
    """Deletes the rows of one store that are over. None of it makes a file that is not there.

    Args:
        storage: that of the leases.
        batch: that of the storage.
        rows: what the keys of the leases begin with.
        said: what the keys of that which leaders say begin with.
        length: how many seconds a lease lasts.
    """

    def __init__(self, storage: Storage, batch: Batch, *, rows: str, said: str, length: float) -> None:
        self._storage = storage
        self._batch = batch
        self._rows = rows
        self._said = said
        self._length = length
        self._next = 0.0

    def sometimes(self) -> None:
        """Delete what processes that died left behind, once a minute at most, without waiting for that."""
        if monotonic() >= self._next:
            self._next = monotonic() + _EVERY
            self._batch.submit(self._sweep)

    def soon(self) -> None:
        """Delete what was left just now when a lease would be over."""
        RENEWALS.later(self._length, self._look)

    def clear(self) -> None:
        """Delete all that leaders left and said; those who wait for it make calls of their own.

        Raises:
            StorageError: it could not be deleted.
        """
        drive(self._clear(blocking))

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._clear(awaiting)

    async def _clear(self, colour: Colour) -> None:
        for prefix in (self._rows, self._said):
            if await colour(self._storage.list, self._storage.alist, prefix=prefix, limit=1):
                await colour(self._batch.run, self._batch.arun, self._delete)
                return

    def _delete(self, transaction: Transaction) -> None:
        rows = {key: LeaseRow.read(cell) for key, cell in transaction.list(prefix=self._rows).items()}
        transaction.delete_many([key for key, row in rows.items() if row is None or row.left is not None])
        transaction.delete_prefix(self._said)

    def _look(self) -> None:
        """Sweep as long as there is something left."""
        with suppress(Exception):
            cells = self._storage.list(prefix=self._rows, limit=_MOST).values()
            rows = [row for row in map(LeaseRow.read, cells) if row is not None]
            if any(row.left is not None for row in rows) or self._storage.list(prefix=self._said, limit=1):
                self._batch.submit(self._sweep)
                self.soon()

    def _sweep(self, transaction: Transaction) -> None:
        now = milliseconds(real_time)
        before = now - self._length * 1000  # nobody waits any more for a lease that was over then
        cells = transaction.list(prefix=self._rows, limit=_MOST)
        rows = {key: LeaseRow.read(cell) for key, cell in cells.items()}
        over = [key for key, row in rows.items() if row is None or row.until < (before if row.left is None else now)]
        transaction.delete_many(over)
        if len(rows) == _MOST:
            return  # who leads may be among those that were not read
        alive = {row.owner for row in rows.values() if row is not None and row.until >= before}
        for key in transaction.list(prefix=self._said, limit=_MOST):
            owner = key.removeprefix(self._said).partition(":")[0]
            if owner not in alive:
                alive.add(owner)
                self._sweep_said(transaction, f"{self._said}{owner}:", before)

    def _sweep_said(self, transaction: Transaction, said: str, before: float) -> None:
        match transaction.get(said + END):
            case [_, int() as until] if until >= before:
                pass
            case _:
                transaction.delete_prefix(said)
