"""Transactions of tasks that run in a thread, and are committed together."""

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from chatcache._bridge import Worker, anew_in_children
from chatcache.errors import StorageError
from chatcache.interrupts import raise_interrupt

from .patience import seconds_left
from .transaction import Transaction

__all__ = ["Batch"]

R = TypeVar("R")
Transact = Callable[[Callable[[Transaction], None]], None]

_MOST = 64  # bodies in a transaction


class _Entry:
    """A body, and how it ended."""

    def __init__(self, body: Callable[[Transaction], Any]) -> None:
        self._body = body
        self.result: Any = None
        self.error: Exception | None = None
        self.over = False

    def run(self, transaction: Transaction) -> None:
        try:
            self.result = transaction.transaction(self._body)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited, and no matter to the others
            self.error = error


class Batch:
    """Runs bodies in a thread of its own, in the order in which they come, those of a moment in one transaction.

    Args:
        transact: runs one body in a transaction, and returns when it is committed.
        worker: gives the thread, in which nothing else may run: it waits for whoever is writing.
        late: makes the error of a caller that may wait no longer.
    """

    def __init__(self, transact: Transact, worker: Callable[[], Worker], late: Callable[[], StorageError]) -> None:
        self._transact = transact
        self._worker = worker
        self._late = late
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have nothing to run: for a child process."""
        self._entries: deque[_Entry] = deque()

    async def run(self, body: Callable[[Transaction], R]) -> R:
        """Return what a body returns, when it is committed; what it raises undoes what it wrote, and is raised."""
        entry = _Entry(body)
        self._entries.append(entry)
        while not entry.over:
            if not await self._worker().submit(self._commit).finished(seconds_left()):
                raise self._late()
        if entry.error is not None:
            raise entry.error
        result: R = entry.result
        return result

    def _commit(self) -> None:
        entries = [self._entries.popleft() for _ in range(min(len(self._entries), _MOST))]  # no other thread takes any
        if not entries:
            return

        def bodies(transaction: Transaction) -> None:
            for entry in entries:
                entry.run(transaction)

        try:
            self._transact(bodies)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            raise_interrupt(error)
            for entry in entries:
                entry.error = error
        finally:
            for entry in entries:
                entry.over = True
