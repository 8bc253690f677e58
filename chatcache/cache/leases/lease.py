"""Single flight across processes: the leader of a key holds a lease, a row beside the records, and the others wait.

The row of a key is ``%lease:`` + the escaped store id + ``:`` + the key. No store has this prefix. The row holds either

* ``[owner, until, heard, alive]``: a leader makes the call. `owner` is a new id for each lease, `until` is in
  milliseconds since the epoch. `heard` is 0 without waiters, 1 with waiters, and 2 if a waiter follows the leader's
  stream (``following.py``); waiters set it. By `alive` they learn that the leader's process was killed (``alive.py``);
  it is empty if they cannot.
* ``[owner, until, heard, alive, note]``: the leader left without storing an answer. The note says why.

**Taking** a lease is one transaction. It replaces a row that is absent, left or expired. The leader then looks for the
answer again, makes the call, and stores the answer and **releases** the lease in one transaction: the row is deleted.
Without an answer to store, the row is deleted or gets the note. A leader that was stopped for so long that others took
over finds that out in this transaction, and does not overwrite their answer.

A note is for waiters that saw its owner alive; later callers ignore it. It may hold an answer that must not be kept.
So it is written only if there are waiters, and deleted when the lease would expire (``sweeps.py``).

A lease lasts nine seconds. One thread of its process **renews** it every three, for as long as the leader can go on. It
is not renewed if the leader's event loop stopped, if its task was abandoned, or if its stream is **parked**: the reader
has not asked for the next chunk for three seconds. So the waiters of a stopped process go on within ten seconds, even
if it holds the lock of the file. A killed process is noticed at once. A process knows its own leases, and waits for
none whose leader cannot go on. A waiter also takes over a row that stayed unchanged for a lease's length by its
monotonic clock, since wall clocks can be set back.

Leases never deadlock, across any number of processes. The holder of a lease does not wait for another process. Nor does
a leader while another call waits for its call (see `chatcache._bridge.Flights`). Both go on without a lease. So each
leader that others wait for makes its call without waiting itself.

If the storage fails, the call proceeds without a lease. Each wait of a call for the storage, here and to store its
answer, counts against its `Budget`. No call waits for a file that is stuck, or for a leader that could not write there.

Later holders delete what killed processes leave behind, once a minute at most. Taking, renewing and releasing are steps
of a `Batch`: if a thousand calls begin at once, a few commits take their leases.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from chatcache._bridge import CANCELLATIONS, RENEWALS, Colour, apause, awaiting, pause, running_loop
from chatcache.backing.rows import escape
from chatcache.clock import monotonic
from chatcache.errors import InvalidValueError, PersistenceError
from chatcache.interrupts import suppress
from chatcache.storage import Budget, Storage, Transaction
from chatcache.store_errors import as_persistence_error

from .alive import Alive
from .batch import Batch
from .following import END, Following, said_key
from .rows import FOLLOWED, WAITED_FOR, LeaseRow, Left, time_after
from .sweeps import Sweep
from .waiting import HOLDS, Watch, must_not_wait, pauses

__all__ = ["Following", "Lease", "Leases", "Left"]

R = TypeVar("R")
IsThere = Callable[[Transaction], bool]

_LENGTH = 9.0  # seconds: a waiter goes on after ten at most, with what it takes to find that out
_RENEWED = 3  # times in one length
_LONGEST_PAUSE = 0.1  # seconds between two looks at the lease of another
_LOOK = 0.05  # seconds between two looks at whether anybody follows


class Leases:
    """The leases of one store, for all threads and tasks of this process.

    Args:
        storage: the storage that holds the records of the store.
        store_id: the id of the store.
        failed: is told of a failure of the storage because of which a call goes on without a lease, and its key.
        length: how many seconds a lease lasts that is not renewed.
    """

    def __init__(
        self,
        storage: Storage,
        store_id: str,
        *,
        failed: Callable[[str, PersistenceError], None],
        length: float = _LENGTH,
    ) -> None:
        self.storage = storage
        self.batch = Batch.of(storage)
        self.alive = Alive.of(storage.path.parent)
        self.length = length
        self._failed = failed
        self._rows = f"%lease:{escape(store_id)}:"
        self._said = f"%said:{escape(store_id)}:"
        self.sweep = Sweep(storage, self.batch, rows=self._rows, said=self._said, length=length)

    async def lead(  # noqa: PLR0913 - a stream needs all of them
        self,
        colour: Colour,
        key: str,
        look: Callable[[], Coroutine[Any, Any, R | None]],
        budget: Budget,
        *,
        follow: bool = False,
        followed: Following | None = None,
    ) -> "Lease | Left | Following | R | None":
        """Take the lease of a key, or wait until there is no call to be made any more.

        Args:
            colour: that of the caller.
            key: the key of a request.
            look: looks the answer up; None where there is none.
            budget: how long the storage may hold up the call, in all of its steps; to wait for a leader is not charged.
            follow: hear what the leader says, instead of waiting until it has an answer.
            followed: the leader that was followed so far, and is not waited for again if it does not go on.

        Returns:
            A `Lease`: the caller is to make the call, within ``async with``. `Left`: another process made it, and has
            no answer to be looked up. `Following`: another process is making it. What `look` found. None: the caller
            is to make the call without a lease.
        """
        row, waits = f"{self._rows}{key}", pauses(_LONGEST_PAUSE)
        watch = Watch(self.length, self.alive) if followed is None else followed.watch
        awaited = ""  # the leader that was told so
        while True:
            try:
                with budget.spent():
                    watch.see(await colour(self.storage.get, self.storage.aget, row))
                watch.hurry(budget)
                with budget.spent():
                    lease = await self._take(colour, row, watch, budget) if watch.is_free() else None
                    waits_for = watch.leader if watch.goes_on() and not must_not_wait(colour, watch.leader) else ""
                    if waits_for and follow:
                        mark = partial(_mark, row, waits_for, FOLLOWED)
                        if await colour(self.batch.run, self.batch.arun, mark):
                            return self._following(colour, key, watch, budget)
                    elif waits_for and waits_for != awaited:
                        awaited = waits_for
                        self.batch.submit(partial(_mark, row, waits_for, WAITED_FOR))
            except Exception as error:  # noqa: BLE001 - whatever it is, the call goes on without a lease
                self._failed(key, as_persistence_error(error))
                return None
            if lease is not None or watch.leader:
                found = await _looked(look, lease)
                if found is not None:
                    return found
            outcome = lease or watch.left()
            if outcome is not None or must_not_wait(colour, watch.leader):
                return outcome
            if self.storage.is_stuck():  # nor can the leader write there how its call ends
                self._failed(key, self.storage.late())
                return None
            await colour(pause, apause, next(waits))

    def clear(self) -> None:
        """Delete what leaders left for others, in whatever process; a lease that is held stays.

        Raises:
            StorageError: it could not be deleted.
        """
        self.sweep.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self.sweep.aclear()

    def close(self) -> None:
        """Leave no thread behind, until another lease is taken, but one where something left is to be deleted soon."""
        self.batch.stop()
        self.alive.close()

    def said(self, owner: str) -> str:
        """Return what the keys of that which an owner says begin with."""
        return f"{self._said}{owner}:"

    async def _take(self, colour: Colour, row: str, watch: Watch, budget: Budget) -> "Lease | None":
        lease = Lease(self, colour, row, budget)
        try:
            RENEWALS.add(lease)  # before its row is there, which would look like that of a killed process
            async with AsyncExitStack() as unless_held:
                unless_held.push_async_exit(lease)  # one that is interrupted here may be taken all the same
                try:
                    await colour(self.batch.run, self.batch.arun, partial(lease.take, watch.unchanged()))
                except Exception:
                    lease.drop()  # the step may be taken all the same, later
                    RENEWALS.discard(lease)
                    raise
                unless_held.pop_all()
            if lease.over:
                RENEWALS.discard(lease)
                return None
            self.sweep.sometimes()
        except BaseException:
            lease.let_go()
            raise
        return lease

    def _following(self, colour: Colour, key: str, watch: Watch, budget: Budget) -> Following:
        row, said, failed = f"{self._rows}{key}", self.said(watch.leader), partial(self._failed, key)
        return Following(colour, self.storage, watch, budget, row=row, said=said, failed=failed)


class Lease:
    """A lease on one key: its holder makes the call, and renews it until then.

    Hold it with ``async with``, from sync and async callers. A holder that makes the call elsewhere, such as a stream,
    calls `release`.

    Attributes:
        note: what those who wait are told when it is released, a JSON value; None where the answer was stored, or where
            one of them is to make the call. One that cannot be stored is dropped, or where nobody waits.
        said: how many items were said so far.
        owner: the id of this taking.
        loop: that of the task that leads, or None for a thread.
        over: whether it is released, or another one's, so that it is not to be renewed.
        every: seconds between two renewals.
        renewal: when it is to be renewed, by the monotonic clock.
    """

    def __init__(self, leases: Leases, colour: Colour, row: str, budget: Budget) -> None:
        self._leases = leases
        self._colour = colour
        self._row = row
        self._budget = budget
        self._lost = False  # whether somebody deleted the row, who may have been another leader
        self._followed = False
        self._look_at = 0.0
        self._parked_at: float | None = None
        self.note: Any = None
        self.said = 0
        self.owner = RENEWALS.new_owner()
        self.loop = running_loop() if colour is awaiting else None
        self.over = False
        self.every = leases.length / _RENEWED
        self.renewal = monotonic() + self.every

    async def store(self, colour: Colour, body: Callable[[Transaction], R], is_there: IsThere) -> R | None:
        """Store an answer, and release the lease, in one transaction. Return what the body returns.

        Where another leader took over and stored an answer, nothing is written, and None is returned.

        Args:
            colour: that of the caller.
            body: writes the answer.
            is_there: returns whether an answer is stored.

        Raises:
            PersistenceError: the answer is not stored, or not in the time that the call may wait; the lease is held.
            Exception: what the body raises; the lease is held.
        """
        step = partial(self._store, body, is_there)
        stored: R | None = await colour(self._leases.batch.run, self._leases.batch.arun, step)
        self.over = True
        RENEWALS.discard(self)
        return stored

    async def release(self) -> None:
        """Let others lead, and tell them the note. Nothing is raised where the storage fails: then it runs out."""
        if self.over:
            return
        self.over = True
        try:
            with suppress(Exception), self._budget.spent():
                await self._colour(self._leases.batch.run, self._leases.batch.arun, self.leave)
        finally:
            RENEWALS.discard(self)

    async def __aenter__(self) -> Self:
        HOLDS.set((*HOLDS.get(), self))
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # without a token, which would bring back what was held when this began: it may be collected in another call
        if self in HOLDS.get():
            HOLDS.set(tuple([held for held in HOLDS.get() if held is not self]))
        if isinstance(error, GeneratorExit):  # nothing may be awaited, nor any lock be taken where it is collected
            RENEWALS.let_go(self)
        elif isinstance(error, CANCELLATIONS):  # whoever cancelled it is not to wait for the disk
            self.drop()
        else:
            await self.release()

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Have others take over where the body takes longer than a third of the length of a lease.

        It is for what is yielded on the thread of a reader, who may never come back. One who does goes on: with the
        lease, if nobody took it, or else without.
        """
        self._parked_at = monotonic()
        try:
            yield
        finally:
            self._parked_at = None

    async def followed(self) -> bool:
        """Return whether anybody follows; it may be asked often, and is looked at every 50 ms at most."""
        if not self._followed and monotonic() >= self._look_at:
            self._look_at = monotonic() + _LOOK
            storage = self._leases.storage
            with suppress(Exception):
                row = LeaseRow.read(await self._colour(storage.get, storage.aget, self._row))
                self._followed = row is not None and row.owner == self.owner and row.heard == FOLLOWED
        return self._followed

    def say(self, items: Sequence[Any]) -> None:
        """Let those who follow hear the next items, JSON values. Nobody waits until they are written.

        The first ones are those of the beginning, whenever somebody began to follow: ``say(items[lease.said:])``.
        """
        index, self.said = self.said, self.said + len(items)
        key = self._leases.said(self.owner) + said_key(index)
        if items and not self.over:
            self._leases.batch.submit(partial(self._say, key, [*items]))

    def drop(self) -> None:
        """Release it, unless it is, without waiting for that; where it is just being taken, it is not taken."""
        if not self.over:
            self.over = True
            self._leases.batch.submit(self.leave)

    def let_go(self) -> None:
        """Have it released, unless it is, without a lock: a Ctrl-C may come before it is entered."""
        if not self.over:
            RENEWALS.let_go(self)

    def take(self, unchanged: LeaseRow | None, transaction: Transaction) -> None:
        """Take it, unless somebody leads; then it is over. Nothing happens where it is already. A step of a batch.

        Args:
            unchanged: the row that nobody renewed for a whole length, whatever its time is.
            transaction: that of the batch.
        """
        if self.over:
            return
        row = LeaseRow.read(transaction.get(self._row))
        if row is not None and row.leads() and row != unchanged:
            self.over = True
        else:
            alive = self._leases.alive.mark()
            transaction.put(self._row, LeaseRow(self.owner, self._until(), alive=alive).cell())

    def renew(self, transaction: Transaction) -> None:
        """Make it last for its length from now on, unless another one has it. A step of a batch."""
        row = LeaseRow.read(transaction.get(self._row))
        if row is None:  # somebody deleted everything, or took over and left
            self._lost = True
            row = LeaseRow(self.owner, 0, alive=self._leases.alive.mark())
        if row.owner != self.owner:
            self.over = True
        if not self.over:
            transaction.put(self._row, replace(row, until=self._until()).cell())

    def leave(self, transaction: Transaction) -> None:
        """Give it back. A step of a batch."""
        row = LeaseRow.read(transaction.get(self._row))
        if row is not None and row.owner == self.owner:
            try:
                self._leave(transaction, row, self.note)
            except InvalidValueError:
                self._leave(transaction, row, None)

    def renew_soon(self) -> None:
        """Have it renewed, without waiting for that, unless it was parked too long ago."""
        parked_at = self._parked_at
        if parked_at is None or monotonic() < parked_at + self.every:
            self._leases.batch.submit(self.renew)

    def _store(self, body: Callable[[Transaction], R], is_there: IsThere, transaction: Transaction) -> R | None:
        row = LeaseRow.read(transaction.get(self._row))
        lost = self._lost or row is None or row.owner != self.owner
        result = None if lost and is_there(transaction) else transaction.transaction(body)
        self.note = None
        self.leave(transaction)
        return result

    def _leave(self, transaction: Transaction, row: LeaseRow, note: Any) -> None:
        if row.heard == FOLLOWED:
            transaction.put(self._leases.said(self.owner) + END, [note, self._until()])
            self._leases.sweep.soon()
        if note is not None and row.heard:
            transaction.put(self._row, replace(row, until=self._until(), left=Left(note)).cell())
            self._leases.sweep.soon()
        else:
            transaction.delete(self._row)

    def _say(self, key: str, items: list[Any], transaction: Transaction) -> None:
        with suppress(InvalidValueError):
            transaction.put(key, items)

    def _until(self) -> int:
        return time_after(self._leases.length)


def _mark(row: str, leader: str, heard: int, transaction: Transaction) -> bool:
    """Have a leader know that somebody waits; return whether it still leads. A step of a batch."""
    found = LeaseRow.read(transaction.get(row))
    if found is None or found.owner != leader or found.left is not None:
        return False
    if found.heard < heard:
        transaction.put(row, replace(found, heard=heard).cell())
    return True


async def _looked(look: Callable[[], Coroutine[Any, Any, R | None]], lease: Lease | None) -> R | None:
    """Look the answer up; a lease is held on only where there is none."""
    try:
        async with AsyncExitStack() as unless_absent:
            if lease is not None:
                unless_absent.push_async_exit(lease)
            found = await look()
            if found is None:
                unless_absent.pop_all()
    except BaseException:
        if lease is not None:
            lease.let_go()
        raise
    return found
