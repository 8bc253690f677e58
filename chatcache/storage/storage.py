"""The storage of one object, as Cloudflare's ``ctx.storage``."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from chatcache._bridge import Colour, awaiting, blocking, drive, running_loop
from chatcache.clock import Clock
from chatcache.errors import PersistenceError, StorageError, TransactionError
from chatcache.interrupts import suppress

from .batch import Batch
from .keyvalues import KeyValues
from .layer import Layer
from .ranges import prefix_range
from .rows import count_rows, ends_of_values
from .sql import SQL
from .transaction import Transaction, atransact, refuse_coroutine, transact
from .turn import Turn
from .turns import Turns

__all__ = ["Storage", "SyncKV", "empty"]

R = TypeVar("R")

_VISITED = 1_000  # rows at a time where values are looked through


class Storage(KeyValues):
    """Keys and values of one object; see `chatcache.storage.keyvalues.KeyValues`.

    A blocking write is on disk when its call returns. Awaited writes are seen at once by everyone in this process; what
    the tasks of a loop write between two points where it does something else is committed together, a moment later,
    and `aflush` returns when it is. Two processes may use one object; what one of them reads and writes in a
    `transaction`, no other comes in between.

    Attributes:
        recall: returns the encoded value under a key if it is in memory, else None: then ask `get`. It never waits and
            reads no file. Not in Cloudflare's API.
    """

    def __init__(self, turns: Turns, longest_row: int) -> None:
        super().__init__(turns, longest_row)
        self.recall: Callable[[str], bytes | None] = turns.recall  # no method: it is called for every hit

    def transaction(self, body: Callable[[Transaction], R]) -> R:
        """Run a body in a transaction, and return what it returns.

        Whatever the body raises rolls it back, and is raised again. What the body calls on this storage itself is part
        of the transaction as well; within another transaction, it is one within that one.

        Raises:
            StorageError: the transaction could not begin, because somebody else wrote for too long, or could not be
                committed. Nothing of it was kept.
        """
        return transact(self._turns, self._longest_row, body)

    async def atransaction(self, body: Callable[[Transaction], Awaitable[R]]) -> R:
        """Awaiting twin of `transaction`. One that is cancelled is rolled back, unless it was being committed."""
        return await atransact(self._turns, self._longest_row, body)

    async def abatch(self, body: Callable[[Transaction], R]) -> R:
        """Await a transaction whose body awaits nothing, and return what it returns. Not in Cloudflare's API.

        It runs in a thread, so that a blocking call of the same loop may wait for it; those of many tasks are committed
        together. Within another transaction, it is one within that one.

        Args:
            body: as `transaction` takes it. It does not see the context of its caller.

        Raises:
            StorageError: as `transaction`.
        """
        if self._turns.transaction() is None:
            return await self._batch.run(body)

        async def abody(transaction: Transaction) -> R:
            return body(transaction)

        return await self.atransaction(abody)

    def transaction_sync(self, body: Callable[[], R]) -> R:
        """Run a body that uses `kv` and `sql`; whatever it raises undoes what it wrote, and is raised again.

        In a running loop it is part of the loop's turn, and committed with it; elsewhere it is committed at its end.

        Raises:
            InvalidInputError: the body is a coroutine function.
        """

        def run(_: object = None) -> R:
            result = body()
            refuse_coroutine(result, "transaction_sync")
            return result

        if running_loop() is None or self._turns.transaction() is not None:
            return self.transaction(run)

        def write(turn: Turn) -> R:
            point = turn.push()
            try:
                result = run()
            except BaseException:
                point.undo()
                raise
            point.release()
            return result

        return self._turns.join(write)

    @cached_property
    def _batch(self) -> Batch:
        turns, longest_row = self._turns, self._longest_row  # and not this object, which it would keep alive
        return Batch(partial(transact, turns, longest_row), lambda: turns.batch_worker, turns.late)

    @cached_property
    def kv(self) -> "SyncKV":
        """The synchronous view, for use in a running loop: what it writes is part of the loop's turn."""
        return SyncKV(_InTurn(self._turns, self._longest_row))

    @cached_property
    def sql(self) -> SQL:
        """SQL on tables of your own, in the same file."""
        return SQL(self._turns)

    @property
    def path(self) -> Path:
        """The file of the object."""
        return self._turns.path

    def is_stuck(self) -> bool:
        """Return whether the file stayed locked for `timeout` seconds, and is not known to be free since.

        Not in Cloudflare's API. A write then makes one attempt, and waits for nobody.
        """
        return self._turns.write_lock.is_stuck(self._turns.timeout)

    def late(self) -> StorageError:
        """Return the error of a caller that may wait no longer for what it writes. Not in Cloudflare's API."""
        return self._turns.late()

    @property
    def longest_row(self) -> int:
        """How many bytes a key and its value may take together."""
        return self._longest_row

    @property
    def clock(self) -> Clock:
        """What gives the time in seconds since the epoch, as `ObjectNamespace` was told."""
        return self._turns.clock

    @property
    def database_size(self) -> int:
        """How many bytes of the file are in use; 0 before anything was written."""
        sizes = self._turns.fetch(
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, "
            "pragma_page_size",
            (),
        )
        return int(sizes[0][0]) if sizes else 0

    def count(self, prefix: str) -> int:
        """Return how many keys of the file begin with a prefix. Not in Cloudflare's API."""
        counted = self._turns.fetch(*count_rows(prefix_range(prefix)))
        return int(counted[0][0]) if counted else 0

    def newest(self, prefixes: Iterable[str], *, length: int) -> Iterator[list[tuple[str, bytes]]]:
        """Yield, page by page, the keys of the file that begin with one of some prefixes, each with its value's ends.

        The key that was first written last comes first. A page may be empty, and takes a moment at most, however large
        the file is. The bytes are those of the file, unchecked. Not in Cloudflare's API.

        Args:
            prefixes: what the keys begin with.
            length: how many bytes of the begin of a value, and of the end of one that is longer.
        """
        ranges = [*map(prefix_range, prefixes)]
        found = self._turns.fetch("SELECT max(rowid) FROM _cf_KV", ())
        last = (found[0][0] if found else None) or 0
        for stop in range(last + 1, 0, -_VISITED):
            rows = self._turns.fetch(*ends_of_values(ranges, range(stop - _VISITED, stop), length))
            yield [(key, begin + end) for key, begin, end in rows if type(begin) is type(end) is bytes]

    def flush(self) -> None:
        """Return when everything that was written so far is on disk (``sync()`` of Cloudflare's).

        Raises:
            StorageError: it could not be written; nothing of what was not on disk yet is kept.
            TransactionError: the caller is in a transaction.
        """
        self._turns.flush()

    async def aflush(self) -> None:
        """Awaiting twin of `flush`."""
        await self._turns.aflush()

    def delete_all(self) -> None:
        """Delete every key, every table of `sql` and the alarm, and give the space back. Nothing of it can be undone.

        Raises:
            TransactionError: the caller is in a transaction.
        """
        drive(self._delete_all(blocking))

    async def adelete_all(self) -> None:
        """Awaiting twin of `delete_all`."""
        await self._delete_all(awaiting)

    async def _delete_all(self, colour: Colour) -> None:
        if self._turns.transaction() is not None:
            raise TransactionError("cannot call delete_all() within a transaction")
        loop = running_loop() if colour is awaiting else None
        await self._turns.exclusively(colour, empty, self._aempty, loop)
        await colour(self._turns.vacuum, self._turns.avacuum)

    async def _aempty(self, turn: Turn) -> None:
        await self._turns.worker.run(partial(empty, turn))  # tables may be long

    def sweep(self, body: Callable[[Transaction], None]) -> None:
        """Have a transaction run in a thread beside the program, to put things in order. Not in Cloudflare's API.

        Neither does the caller wait for it, nor does it wait for anybody: where somebody is writing to the object just
        now, or the file cannot be read or written, nothing happens.
        """
        if self._turns.is_idle():
            self._turns.worker.submit(partial(self._sweep, body))

    def _sweep(self, body: Callable[[Transaction], None]) -> None:
        with suppress(PersistenceError):
            self._turns.sweep(lambda turn: body(Transaction(turn, self._longest_row)))

    def give_back(self) -> bool:
        """Give a little of the space of what was deleted back to the file system. Not in Cloudflare's API.

        It holds up others no longer than a commit does, and waits for nobody: while somebody writes it does nothing.
        Call it again, after a moment, as long as it returns True: so long an eighth of the file is free.
        """
        return self._turns.give_back()

    async def agive_back(self) -> bool:
        """Awaiting twin of `give_back`."""
        return await self._turns.worker.run(self._turns.give_back)

    def _layers(self, _method: str, /) -> Sequence[Layer]:
        return self._turns.layers()

    def _write(self, _method: str, body: Callable[[Turn], R], /, *, reads: bool = False) -> R:
        return self._turns.write(body, locked=reads)

    def _aturn(self, _method: str, /) -> Awaitable[Turn]:
        return self._turns.ajoin()


class SyncKV:
    """Keys and values without awaiting, as ``storage.kv`` of Cloudflare's.

    In a running loop what is written is part of the loop's turn, and committed with it; elsewhere it is committed when
    the call returns.
    """

    def __init__(self, keyvalues: KeyValues) -> None:
        self._keyvalues = keyvalues

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under a key, or `default`."""
        return self._keyvalues.get(key, default)

    def put(self, key: str, value: Any) -> None:
        """Store a value under a key."""
        self._keyvalues.put(key, value)

    def delete(self, key: str) -> bool:
        """Delete a key; return whether it existed, in a running loop as `Storage.adelete` does."""
        return self._keyvalues.delete(key)

    def list(  # noqa: PLR0913 - Cloudflare's options of a listing
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Return keys with their values, to be read piece by piece; the options are those of `Storage.list`."""
        return self._keyvalues.scan(
            prefix=prefix, start=start, start_after=start_after, end=end, reverse=reverse, limit=limit
        )


class _InTurn(Storage):
    """The storage, written to in the turn of the running loop."""

    def _write(self, method: str, body: Callable[[Turn], R], /, *, reads: bool = False) -> R:
        return self._turns.join(body) if running_loop() is not None else super()._write(method, body, reads=reads)


def empty(turn: Turn) -> None:
    """Delete every key, every table of `SQL` and the alarm, in a turn that is locked."""
    turn.layer.clear(prefix_range(""))
    turn.layer.alarm = None
    SQL(turn.turns).drop_all(turn)
