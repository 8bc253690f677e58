"""Streams over processes: those who wait for the leader of a stream hear its chunks as they come.

Whoever follows marks the row of the lease. A leader that finds the mark says what it has so far, and then whatever
comes: rows ``%said:`` + the escaped store id + ``:owner:index``, each with the items from an index on. When it releases
the lease, the row ``%said:…:owner:end`` says so, with the note. They are deleted two lengths of a lease later
(``sweeps.py``).
"""

from collections.abc import Callable, Mapping
from typing import Any

from chatcache._bridge import Colour, apause, pause
from chatcache.errors import PersistenceError
from chatcache.storage import Budget, Storage
from chatcache.store_errors import as_persistence_error

from .rows import Left
from .waiting import Watch, must_not_wait, pauses

__all__ = ["END", "Following", "said_key"]

END = "end"  # sorted after every index
_LONGEST_PAUSE = 0.05  # seconds between two looks
_MOST = 100  # rows that are read at once


def said_key(index: int) -> str:
    """Return what the key of a row of items ends with, so that they are sorted."""
    return f"{index:08}"


class Following:
    """What the leader of a stream says, from its beginning.

    Args:
        colour: that of the caller.
        storage: the storage of the lease.
        watch: what was seen of the lease so far.
        budget: that of the call.
        row: the key of its row.
        said: what the keys of the items begin with.
        failed: is told of a failure of the storage.

    Attributes:
        watch: what was seen of the lease.
    """

    def __init__(  # noqa: PLR0913 - one place makes it
        self,
        colour: Colour,
        storage: Storage,
        watch: Watch,
        budget: Budget,
        *,
        row: str,
        said: str,
        failed: Callable[[PersistenceError], None],
    ) -> None:
        self._colour = colour
        self._storage = storage
        self.watch = watch
        self._budget = budget
        self._row = row
        self._said = said
        self._failed = failed
        self._leader = watch.leader
        self._index = 0

    async def more(self) -> list[Any] | Left | None:
        """Wait for what is said next.

        Returns:
            The next items, at least one. `Left`: the leader released its lease, without a note where its answer is to
            be looked up, which may have more items than were said. None: the leader died, or must not be waited for.
        """
        waits = pauses(_LONGEST_PAUSE)
        while True:
            try:
                with self._budget.spent():
                    self.watch.see(await self._colour(self._storage.get, self._storage.aget, self._row))
                    rows = await self._colour(
                        self._storage.list,
                        self._storage.alist,
                        prefix=self._said,
                        start=self._said + said_key(self._index),
                        limit=_MOST,
                    )
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing more is heard
                self._failed(as_persistence_error(error))
                return None
            items = self._next(rows)
            if items:
                return items
            match rows.get(self._said + END):
                case [note, _]:
                    return Left(note)
            if self.watch.leader != self._leader or not self.watch.goes_on():
                self.watch.hurry(self._budget)
                return None
            if self._storage.is_stuck():  # what is said then cannot be written
                self._failed(self._storage.late())
                return None
            if must_not_wait(self._colour, self._leader):
                return None
            await self._colour(pause, apause, next(waits))

    def _next(self, rows: Mapping[str, Any]) -> list[Any]:
        items: list[Any] = []
        while isinstance(said := rows.get(self._said + said_key(self._index)), list) and said:
            items += said
            self._index += len(said)
        return items
