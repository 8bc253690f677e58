"""Who writes to an object when, and what is committed together.

What tasks of an event loop write between two points where the loop does something else is one *turn*, as in workerd:
the writes are seen at once by everyone in this process, and committed together, in a thread, when the turn ends.
Turns that ended while the disk was busy are committed together. A blocking write is a turn of its own that is committed
when the call returns; an explicit transaction is a turn that holds the file's write lock, so that no other process
comes in between.

Until they are committed, the writes of a turn are in memory, in layers over the rows of the file: no lock of SQLite is
held while Python code runs, except in an explicit transaction or where `chatcache.storage.sql` wrote, and a loop that
is stopped in the middle of a turn holds up nobody. Where a commit fails, everything that was not committed is lost, and
that is said: to those who wait for it, or else at the next call.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from sqlite3 import Connection, Error
from typing import Protocol, TypeVar

from chatcache._bridge import (
    Colour,
    ContextVar,
    Lock,
    Loop,
    Turnstile,
    Worker,
    WouldWaitForItself,
    get_ident,
    running_loop,
)
from chatcache.clock import Clock, monotonic
from chatcache.errors import CorruptStorageError, StorageError, TransactionError
from chatcache.interrupts import raise_interrupt, suppress

from .database import SHRINKS, Database, Durability, explained
from .layer import UNKNOWN, Layer, Unknown
from .patience import is_busy, seconds_left
from .rows import give_back_pages, has_much_free, write_layer
from .turn import CURRENT, Turn

__all__ = ["Schedule", "Turns"]

R = TypeVar("R")

_FORK_TRIES = 0.05  # seconds that a fork waits for one object before it lets the others go on for a moment

_logger = logging.getLogger("chatcache")

_WROTE: "ContextVar[tuple[Turn, ...]]" = ContextVar("chatcache_turns_written_in", default=())


class Schedule(Protocol):
    """Where it is written down, outside the file, when the alarm of an object is to go off.

    Attributes:
        name: the name of the object, if it is known.
    """

    name: str | None

    def time_of(self, when: datetime | float) -> int:
        """Return a time in nanoseconds since the epoch, not before now."""
        ...

    def before(self, when: int) -> None:
        """Note an alarm that is about to be committed."""
        ...

    def after(self, when: int | None) -> None:
        """Note the alarm that was committed, or that there is none any more."""
        ...


class _Fork:
    """What holds others up while the process forks."""

    loop: Loop | None = None
    left = False

    def abandon(self) -> None:
        """Nothing: no loop has to go on first."""


class Turns(Database):
    """A database that is written to in turns.

    Args:
        path: the file.
        durability: what a commit waits for.
        timeout: how many seconds to wait for a lock, or for somebody's turn.
        schedule: is told of alarms; None where nobody handles them.
        clock: gives the time in seconds since the epoch.

    Attributes:
        firing: the alarm whose handler runs, in nanoseconds since the epoch.
        keeps: what is to live as long as this does.
        batch_worker: the thread of `chatcache.storage.batch`.
        commits: how often layers went into the file: what was read over one of these times is read again.
    """

    _open: Turn | None
    _sealed: tuple[Turn, ...]
    _lost: StorageError | None

    def __init__(
        self, path: Path, durability: Durability, timeout: float, schedule: Schedule | None, clock: Clock
    ) -> None:
        self.schedule = schedule
        self.clock = clock
        self.firing: int | None = None
        self.keeps: object = None
        super().__init__(path, durability, timeout)

    def layers(self) -> Sequence[Layer]:
        """Return what the caller sees that is not committed yet, the newest first.

        Raises:
            StorageError: what was written before could not be committed, and nobody was told so far.
        """
        if self._open is None and not self._sealed and self._lost is None and CURRENT.get() is None:
            return ()  # the caller sees what was committed, and nobody is to be told of a loss
        transaction = self.transaction()
        if transaction is not None:
            return transaction.layers[::-1]
        self._tell_of_loss()
        current = self._open  # before the sealed ones, or a turn that is sealed just now would be in neither
        sealed = [turn.layer for turn in reversed(self._sealed)]
        return sealed if current is None or current.layer in sealed else [*reversed(current.layers), *sealed]

    def recall(self, key: str) -> bytes | None:
        """Return what the row of a key holds, if it is in memory and what the caller sees, or None."""
        if self._open is None and not self._sealed and self._lost is None and CURRENT.get() is None:  # as in `layers`
            value = self._recent.get(key)
            return value if value is not None and monotonic() <= self._looks_at else None
        return None

    def transaction(self) -> Turn | None:
        """Return the explicit transaction of this object that the caller is in, or None.

        Raises:
            TransactionError: it was rolled back, and its body still runs.
        """
        turn = CURRENT.get()
        while turn is not None and (turn.turns is not self or turn.over):
            turn = turn.outer
        if turn is not None and turn.rolled_back:
            raise TransactionError("the transaction was rolled back: its storage can be used again after its end")
        return turn

    def joined(self) -> Turn | None:
        """Return the turn of the running loop, if its tasks wrote already."""
        turn = self._open
        return turn if turn is not None and turn.loop is running_loop() else None

    def _joined_whole(self) -> Turn | None:
        turn = self.joined()
        if turn is not None and len(turn.layers) > 1:
            raise TransactionError("within transaction_sync() this call would commit half of it: use storage.kv there")
        return turn

    def _end_joined(self) -> None:
        turn = self._joined_whole()
        if turn is not None:
            self.end(turn)

    async def ajoin(self) -> Turn:
        """Return the turn of the running loop, or begin one as soon as nobody else is writing."""
        turn = self.transaction() or self.joined()
        if turn is None:
            self._tell_of_loss()
            turn = Turn(self, running_loop())
            await self._aenter(turn)
            self._begin_turn(turn)
        if _WROTE.get()[-1:] != (turn,):
            self._remember(turn)
        return turn

    def _remember(self, turn: Turn) -> None:
        """Note that the running task writes in a turn, to tell it if that is lost; and tell it if one before was."""
        undecided = [each for each in _WROTE.get() if not each.outcome.done or each.outcome.error is not None]
        _WROTE.set((*(each for each in undecided if not each.outcome.done), turn))
        self._tell_of_lost(undecided)

    def join(self, body: Callable[[Turn], R]) -> R:
        """Return what a body returns that writes in the turn of the running loop, or, where none runs, as `write`.

        Raises:
            TransactionError: somebody else is writing, and to wait for it would stop the running loop.
            StorageError: it could not be committed.
        """
        loop = running_loop()
        if loop is None or self.transaction() is not None:
            return self.write(body)
        turn = self.joined() or Turn(self, loop)
        if turn is not self._open:
            self._tell_of_loss()
            self._enter(turn)
            self._begin_turn(turn)
        return body(turn)

    def write(self, body: Callable[[Turn], R], *, locked: bool = False) -> R:
        """Return what a body returns that writes in a turn, when that is committed.

        It is one of its own, or that of the running loop. This is no context manager, which a Ctrl-C could keep from
        its end.

        Args:
            body: writes.
            locked: hold the file's write lock from the beginning, so that what is read in between stays true.

        Raises:
            TransactionError: somebody else is writing, and to wait for it would stop the running loop.
            StorageError: it could not be committed.
        """
        transaction = self.transaction()
        if transaction is not None:
            return body(transaction)
        self._tell_of_loss()
        turn = self._joined_whole() or Turn(self, None)
        try:
            if turn.loop is None:
                self._enter(turn)
            if locked:
                self.lock(turn)
            result = body(turn)
            turn.outcome.expected += 1
            self._seal(turn)
        except BaseException:
            if turn.loop is None:
                self._give_back(turn)
            raise
        self.commit()
        if turn.outcome.error is not None:
            raise turn.outcome.error
        if not turn.outcome.done:
            raise self.late()
        return result

    def flush(self) -> None:
        """Commit everything that was written so far.

        Raises:
            StorageError: it could not be committed.
            TransactionError: the caller is in a transaction.
        """
        self._refuse_in_transaction("flush")
        self.write(_nothing)
        self._tell_of_loss()

    async def aflush(self) -> None:
        """Awaiting twin of `flush`."""
        self._refuse_in_transaction("aflush")
        self._tell_of_loss()
        current = self._open
        if current is not None and current.loop is not running_loop():  # it is over when this loop may enter
            turn = Turn(self, running_loop())
            await self._aenter(turn)
            self._turnstile.leave(turn)
            self._tell_of_loss()
            current = None
        last = current or next(reversed(self._sealed), None)
        mine = _WROTE.get()
        _WROTE.set(tuple(each for each in mine if each.turns is not self))
        if last is not None and not await last.outcome.wait(seconds_left()):
            raise self.late()
        self._tell_of_lost(mine)

    async def exclusively(
        self, colour: Colour, body: Callable[[Turn], R], abody: Callable[[Turn], Awaitable[R]], loop: Loop | None
    ) -> R:
        """Return what a body returns that runs in an explicit transaction; whatever it raises rolls it back."""
        turn = Turn(self, loop, explicit=True)
        self._end_joined()
        self._tell_of_loss()
        try:
            await colour(self._enter, self._aenter, turn)
            turn.entered = True
            await colour(self.lock, self._alock, turn)
            self.refuse_abandoned(turn)
            token = CURRENT.set(turn)
            try:
                result = await colour(body, abody, turn)
            finally:
                CURRENT.reset(token)
            self.refuse_abandoned(turn)
            if not turn.rolled_back:
                await colour(self._finish, self._afinish, turn)
        except BaseException:
            if turn.entered:
                self.roll_back(turn)
            raise
        finally:
            turn.over = turn.left = True
            self._turnstile.leave(turn)
        return result

    def lock(self, turn: Turn) -> None:
        """Begin a transaction on the connection to write by, after what was sealed is committed."""
        if turn.locked:
            return
        self.commit()
        self._tell_of_loss()
        if self._sealed:
            raise self.late()
        self.write_lock.try_until_free(partial(self._lock, turn), self.timeout)

    def _lock(self, turn: Turn) -> None:
        with self.writing, self.writer() as connection:
            if not turn.over:
                turn.locked = True  # at first, so that it is given up wherever a Ctrl-C comes
                try:
                    self._begin_transaction(connection)
                except Error:
                    turn.locked = False
                    raise

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that writes, on the connection to write by, once the file is free."""
        self.write_lock.try_until_free(partial(self._begin_transaction, connection), self.timeout)

    def _begin_transaction(self, connection: Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        self.write_lock.note_free()

    def late(self) -> StorageError:
        """Return the error of a caller that may wait no longer."""
        return self.write_lock.error or StorageError(
            f"{self.path} was written to by others for longer than a call may be held up: pass a longer timeout, or "
            "find what writes so much"
        )

    def roll_back(self, turn: Turn) -> None:
        """Undo what a turn wrote."""
        turn.layers = [Layer()]
        with self.writing:  # where its lock is just being taken, it is to be given back
            if turn.locked:
                turn.locked = False
                with suppress(StorageError), self.writer() as connection:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                        self.write_lock.note_free()

    def _give_back(self, turn: Turn) -> None:
        """Undo what a blocking turn wrote that is not sealed, and leave."""
        try:
            if turn not in self._sealed and not turn.over:
                self.roll_back(turn)
        finally:
            turn.left = True
            self._turnstile.leave(turn)

    def end(self, turn: Turn) -> None:
        """End the turn of a loop, and have it committed by the worker."""
        if self._open is turn:
            self._seal(turn)
            if self._sealed:
                self.worker.submit(self.commit)

    def commit(self) -> None:
        """Commit every turn that is sealed, in one transaction. Each hears by its outcome how it ended.

        Where the caller may not wait until the file is free, the worker goes on with it.
        """
        with self.writing:  # whoever commits what was sealed has told how that ended
            if not self._sealed:
                return
        try:
            self.write_lock.try_until_free(self._commit_sealed, self.timeout)
        except StorageError as error:
            if is_busy(error) and not self.write_lock.is_stuck(self.timeout):
                self.worker.submit(self.commit)
            else:
                self._give_up_sealed(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            raise_interrupt(error)
            self._give_up_sealed(StorageError(f"{self.path} could not be written: {error!r}"))

    def _commit_sealed(self) -> None:
        with self.writing:
            turns = self._sealed
            if not turns:
                return
            with self.writer() as connection:
                self._commit(turns, connection)
            with self._guard:
                self._sealed = self._sealed[len(turns) :]
            for turn in turns:
                turn.outcome.end()

    def _give_up_sealed(self, error: StorageError) -> None:
        with self.writing:
            lost, unheard = self._lose(error)
        if lost is not None:
            self._turnstile.leave(lost)
        if unheard is not None:
            _logger.error("what was written and not awaited is lost: %s", unheard)

    def sweep(self, body: Callable[[Turn], None]) -> None:
        """Run a body in a transaction of its own, unless somebody is in one: it waits for nobody.

        Raises:
            StorageError: another process is writing, or the file cannot be written.
        """
        with self.writing:
            if not self.exists() or not self.is_open():
                return
            with self.writer() as connection:
                if connection.in_transaction:
                    return
                connection.execute("BEGIN IMMEDIATE")
                turn = Turn(self, None, explicit=True)
                turn.locked = True
                try:
                    body(turn)
                    self._commit((turn,), connection)
                except BaseException:
                    self.roll_back(turn)
                    raise
                finally:
                    turn.over = True

    def give_back(self) -> bool:
        """Give a few free pages back to the file system, where many are free; return whether there are more to give.

        It waits for nobody, and takes no longer than a commit. Where somebody is writing nothing is given back.
        """
        more = False
        try:
            with self.writing:
                if not self.exists() or not self.is_open():
                    return False
                with self.writer() as connection:
                    more = has_much_free(connection)
                    if connection.in_transaction or not more:
                        return more
                    give_back_pages(connection)
                    more = has_much_free(connection)
            self.checkpoint()
        except StorageError as error:
            return more and is_busy(error)
        return more

    def vacuum(self) -> None:
        """Give the space of what was deleted back to the file system, unless somebody reads just now."""
        with suppress(StorageError), self.writing, self.writer() as connection:
            if not connection.in_transaction:
                connection.execute(SHRINKS)
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def avacuum(self) -> None:
        """Awaiting twin of `vacuum`."""
        await self.worker.run(self.vacuum)

    def is_idle(self) -> bool:
        """Return whether no turn is under way or to be committed."""
        return self._turnstile.holder is None and not self._sealed

    def close(self) -> None:
        """Commit what is to be committed, and release the file. What is used afterwards opens it again.

        Raises:
            StorageError: it could not be committed.
            TransactionError: the caller is in a transaction, or to wait for somebody else would stop the running loop.
        """
        with self._alone("close"):
            super().close()
        self._tell_of_loss()

    def delete_file(self, empty: Callable[[Turn], None]) -> bool:
        """Delete the file with all that belongs to it, and what is not committed yet; return whether there was one.

        Args:
            empty: deletes all that the file holds, which other processes may still have open, in a turn that is locked.

        Raises:
            StorageError: it cannot be deleted.
            TransactionError: as `close`.
        """
        with self._alone("delete") as turn:
            if not self.exists():
                return False
            self._lost = None  # it would be deleted now
            with suppress(CorruptStorageError):  # there is nothing to be read from it either
                self._empty(turn, empty)
            with self.writing, self._reading:
                self._release()
                try:
                    for beside in ("", "-journal", "-wal", "-shm"):
                        self.path.with_name(self.path.name + beside).unlink(missing_ok=True)
                except OSError as error:
                    raise explained(error, self.path) from error
            return True

    def _empty(self, turn: Turn, empty: Callable[[Turn], None]) -> None:
        try:
            self.lock(turn)
            empty(turn)
            self._finish(turn)
        except BaseException:
            self.roll_back(turn)
            raise

    @contextmanager
    def _alone(self, method: str) -> Iterator[Turn]:
        """Let nobody write meanwhile; what was written before is committed first."""
        self._refuse_in_transaction(method)
        self._end_joined()
        turn = Turn(self, None)
        try:
            self._enter(turn)
            self.commit()
            yield turn
        finally:
            turn.left = True
            self._turnstile.leave(turn)

    def stop_writers(self) -> bool:
        """Let nobody begin to write; return whether nobody of another thread is writing any more."""
        holder = self._turnstile.holder
        if isinstance(holder, Turn) and holder.thread == get_ident():
            return True  # there is no waiting for oneself
        try:
            self._turnstile.enter(self._fork, _FORK_TRIES)
        except WouldWaitForItself:
            return True
        except TimeoutError as error:
            raise_interrupt(error)
            return False
        return True

    def go_on(self) -> None:
        """Let writers go on."""
        self._turnstile.leave(self._fork)

    def before_fork(self) -> None:
        """Commit what was written, and then do as `Database.before_fork` does.

        What a turn of this very thread wrote is in memory, and it goes on afterwards; where it has the file's lock it
        is committed. An explicit transaction is given up.
        """
        holder = self._turnstile.holder
        if isinstance(holder, Turn) and holder.explicit:
            holder.give_up("the process forked in the middle of it")
        elif isinstance(holder, Turn) and holder.locked and len(holder.layers) == 1:
            self._seal(holder)
        self.commit()
        super().before_fork()

    def after_fork_in_parent(self) -> None:
        """Let it be opened and written to again."""
        super().after_fork_in_parent()
        self.go_on()

    def _begin(self) -> None:
        super()._begin()
        self._guard = Lock()
        self._turnstile = Turnstile()
        self._fork = _Fork()
        self.batch_worker = Worker()
        self._open = self._lost = None
        self._sealed = ()
        self.commits = 0

    def _stop_workers(self) -> None:
        super()._stop_workers()
        self.batch_worker.stop()

    def _begin_turn(self, turn: Turn) -> None:
        self._open = turn
        if turn.loop is not None:
            turn.loop.call_soon(self.end, turn)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Say what is the matter where somebody waits in vain for others to have written."""
        try:
            yield
        except TimeoutError as error:
            raise_interrupt(error)
            raise StorageError(
                f"{self.path} was written to by another task or thread for more than {self.timeout:g} s: "
                "end its transaction, or pass a longer timeout"
            ) from None
        except WouldWaitForItself:
            raise TransactionError(
                f"a blocking call on {self.path} would wait for a task of the loop that it stops: await the method "
                "whose name begins with 'a', or make the call within that transaction"
            ) from None

    def _enter(self, turn: Turn) -> None:
        with self.waiting():
            self._turnstile.enter(turn, self.timeout, seconds_left())

    async def _aenter(self, turn: Turn) -> None:
        with self.waiting():
            await self._turnstile.aenter(turn, self.timeout, seconds_left())

    async def _alock(self, turn: Turn) -> None:
        await self.worker.run(partial(self.lock, turn))

    def _finish(self, turn: Turn) -> None:
        """Commit an explicit transaction."""
        with self.writing, self.writer() as connection:
            self.refuse_abandoned(turn)
            self._commit((turn,), connection)

    async def _afinish(self, turn: Turn) -> None:
        await self.worker.run(partial(self._finish, turn))

    def _seal(self, turn: Turn) -> None:
        """Let nothing more be written in a turn; it is committed with the next `commit`."""
        with self._guard:
            if turn is self._open or (turn.loop is None and not turn.over):
                if turn.layer or turn.locked:
                    self._sealed = (*self._sealed, turn)
                else:
                    turn.outcome.end()
                turn.over = True
            if turn is self._open:
                self._open = None
        turn.left = True
        self._turnstile.leave(turn)

    def _commit(self, turns: tuple[Turn, ...], connection: Connection) -> None:
        try:
            if not any(turn.locked for turn in turns):
                connection.execute("BEGIN IMMEDIATE")
            else:
                self.must_be_locked(connection)
            alarm: int | Unknown | None = UNKNOWN
            for turn in turns:
                written = write_layer(connection, turn.layer, self.firing)
                alarm = alarm if isinstance(written, Unknown) else written
            if self.schedule is not None and isinstance(alarm, int):
                self.schedule.before(alarm)
            if not isinstance(alarm, Unknown):
                self.firing = None
            connection.execute("COMMIT")
            self.write_lock.note_free()
            self.commits += 1
            if self.schedule is not None and not isinstance(alarm, Unknown):
                self.schedule.after(alarm)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def must_be_locked(self, connection: Connection) -> None:
        """Raise `StorageError` where SQLite, or a fork, ended the transaction of a turn that has the lock."""
        if not connection.in_transaction:
            raise StorageError(f"{self.path}: the transaction was ended in the middle of it, and nothing of it is kept")

    def _lose(self, error: StorageError) -> tuple[Turn | None, StorageError | None]:
        """Give up whatever is not committed, since it was written by those who saw what could not be.

        Return the turn that was under way, which is to leave the turnstile, and the error where not everybody hears it.
        """
        with self._guard:
            sealed, self._sealed = self._sealed, ()
            current, self._open = self._open, None
            if current is not None:
                current.over = True
            lost = [*sealed, *([] if current is None else [current])]
            told = [turn.outcome.end(error) for turn in lost]
            if any(turn.loop is not None and not heard for turn, heard in zip(lost, told, strict=True)):
                self._lost = error
                return current, error
            return current, None

    def _tell_of_loss(self) -> None:
        error, self._lost = self._lost, None
        if error is not None:
            _WROTE.set(tuple(each for each in _WROTE.get() if each.outcome.error is None))
            raise self._loss(error)

    def _tell_of_lost(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            if turn.turns is self and turn.outcome.error is not None:
                raise self._loss(turn.outcome.error)

    def _loss(self, error: Exception) -> StorageError:
        lost = StorageError(f"what was written before was lost: {error}")
        lost.__cause__ = error
        return lost

    def refuse_abandoned(self, turn: Turn) -> None:
        """Raise `TransactionError` where a transaction was given up while its body ran."""
        if turn.abandoned:
            raise TransactionError(f"the transaction on {self.path} was rolled back: {turn.abandoned}")

    def _refuse_in_transaction(self, method: str) -> None:
        if self.transaction() is not None:
            raise TransactionError(f"cannot call {method}() within a transaction: call it after its end")


def _nothing(_turn: Turn) -> None:
    """Write nothing: there is only something to be waited for."""
