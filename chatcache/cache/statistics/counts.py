"""What the caches of a store counted: how often they hit, what was refused, and what the hits saved.

Counting takes place in memory. What was counted since is added, in a transaction, to a row of the object, so that the
counts of all processes that ever used the store add up exactly::

    %stats:<escaped store id>    {"hits": 12, "misses": 4, "refusals.length": 1, ...}    only what is not zero

This is done when statistics are asked for, when the cache is closed, when the program ends, and once a minute by a
thread beside the program: a program that is killed loses at most what it counted in the last minute. One that ends
by ``os._exit``, as the processes that `multiprocessing` forks do, is killed in this sense: it is to close its caches.

* Counting makes no file: as long as the object was never written to, the counts stay in memory.
* Caches that write nothing write no counts either: theirs are kept in memory, apart from those of other caches.
* Where the row cannot be written, its counts stay in memory until the next time. A damaged row is reset.
* What is saved within a transaction on the object is part of that, and undone with it.
* Clearing the records of a store leaves its statistics as they are; they are gone with the object.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, TypedDict, Unpack, cast
from weakref import WeakValueDictionary, finalize

from chatcache._bridge import Lock, RLock, anew_in_children, off_loop, pause
from chatcache.backing.rows import escape
from chatcache.clock import monotonic
from chatcache.errors import CorruptRecordError
from chatcache.interrupts import raise_interrupt, suppress
from chatcache.mode import Refusal
from chatcache.storage import DurableObject, Storage, Transaction

from .saver import Saver
from .telemetry import Telemetry

__all__ = ["Counts", "HeldCounts", "Statistics", "Tally"]

_MOST_NOTED = 1_000  # hits that are added up together
_WAIT = 1.0  # seconds for somebody else who is saving the same counts
_LOOK = 0.01  # seconds between two looks at whether that one is done


class Increments(TypedDict, total=False):
    """How much to add to which counts."""

    hits: int
    misses: int
    stores: int
    bypasses: int
    evictions: int
    joins: int
    bytes_stored: int
    bytes_served: int
    tokens_saved: int
    cost_saved: float
    seconds_saved: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was ever counted for a store: what was saved, by whatever process, and what this one counted since.

    Attributes:
        hits: calls that were answered by a record.
        misses: calls that had no record.
        stores: answers that were recorded.
        refusals: answers that were not worth keeping, by the reason.
        bypasses: calls that proceeded without the cache because a read, a write or a lease failed; one whose lookup
            found nothing is a miss as well.
        evictions: records that were removed to make room.
        joins: calls that were answered by that of another thread, task or process, which was under way; each of them
            is a miss as well.
        bytes_stored: the size of the answers that were recorded.
        bytes_served: the size of the answers that hits replayed.
        tokens_saved: the tokens of the answers that hits replayed, as far as those state them.
        cost_saved: what the replayed calls had cost, in US dollars, as far as that is known.
        seconds_saved: how long the replayed calls had taken.
    """

    hits: int = 0
    misses: int = 0
    stores: int = 0
    refusals: Mapping[Refusal, int] = field(default_factory=dict)
    bypasses: int = 0
    evictions: int = 0
    joins: int = 0
    bytes_stored: int = 0
    bytes_served: int = 0
    tokens_saved: int = 0
    cost_saved: float = 0.0
    seconds_saved: float = 0.0

    @property
    def hit_rate(self) -> float:
        """Which part of the calls that were looked up hit, from 0 to 1; 0 where there were none."""
        return self.hits / (self.hits + self.misses) if self.hits else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, and the hit rate, as JSON has it."""
        refusals = {str(reason): count for reason, count in self.refusals.items()}
        return {**asdict(self), "refusals": refusals, "hit_rate": self.hit_rate}

    def __str__(self) -> str:
        """Say it in three lines: what was looked up, what became of the answers, and what was saved."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.refusals.items())
        return (
            f"looked up  {self.hits:,} hits, {self.misses:,} misses ({self.hit_rate:.1%} hits), "
            f"{self.joins:,} joined, {self.bypasses:,} bypassed\n"
            f"answers    {self.stores:,} stored ({self.bytes_stored:,} bytes), "
            f"{sum(self.refusals.values()):,} refused{f' ({reasons})' if reasons else ''}, {self.evictions:,} evicted\n"
            f"saved      {self.tokens_saved:,} tokens, ${self.cost_saved:,.4f}, {self.seconds_saved:,.1f} s "
            f"({self.bytes_served:,} bytes served)"
        )


_REFUSED = {reason: f"refusals.{reason}" for reason in Refusal}
_SAVED = ("bytes_served", "tokens_saved", "cost_saved", "seconds_saved")
_NAMES = (*(each.name for each in fields(Statistics) if each.name != "refusals"), *_REFUSED.values())


class Tally:
    """What was counted in this process.

    Attributes:
        noted: what hits saved that are to be added up, since there are many.
    """

    def __init__(self) -> None:
        self._counted: dict[str, float] = {}
        self.noted: deque[Sequence[float]] = deque()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have counted nothing."""
        self._lock = RLock()  # a handler of a signal may count as well
        self._counted.update(dict.fromkeys(_NAMES, 0))
        self.noted.clear()

    def add(self, increments: Mapping[str, float]) -> None:
        """Add to some of the counts."""
        with self._lock:
            for name, amount in increments.items():
                self._counted[name] += amount

    def counted(self) -> dict[str, float]:
        """Return what was counted."""
        with self._lock:
            noted = [self.noted.popleft() for _ in range(len(self.noted))]
            self._counted["hits"] += len(noted)
            for name, saved in zip(_SAVED, zip(*noted, strict=False), strict=False):
                with suppress(TypeError):  # another program wrote one of the records
                    self._counted[name] += sum(saved)
            return dict(self._counted)


class HeldCounts:
    """What is counted for one store while a tape is in; it is in no file, and no part of what was counted before.

    Args:
        tally: returns what is counted for the call at hand.
    """

    def __init__(self, tally: Callable[[], Tally]) -> None:
        self._tally = tally

    def add(self, **increments: Unpack[Increments]) -> None:
        """Add to some of the counts."""
        self._tally().add(cast("Mapping[str, float]", increments))

    def refuse(self, reason: Refusal) -> None:
        """Count an answer that is not kept."""
        self._tally().add({_REFUSED[reason]: 1})

    def hit(self, saves: Sequence[float]) -> None:
        """Count a call that a record answered; as `Counts.hit`."""
        self._tally().noted.append(saves)

    def stats(self) -> Statistics:
        """Return what was counted."""
        return _statistics(self._tally().counted())

    async def astats(self) -> Statistics:
        """Awaiting twin of `stats`."""
        return self.stats()


class Counts:
    """What is counted for one store in this process; `of` returns it."""

    def __init__(self, thing: DurableObject, store_id: str, *, writes: bool) -> None:
        self.store_id = store_id
        self._thing = thing
        self._writes = writes
        self._row = f"%stats:{escape(store_id)}"  # no row of a store: what is escaped has no %s
        self._stored: Mapping[str, float] = {}  # the row, as far as it is known
        self._tally = Tally()
        self.begin_anew()
        anew_in_children(self)
        finalize(self, _ALL.keep, store_id, self._tally).atexit = False

    def begin_anew(self) -> None:
        """Have counted nothing: for a child process, whose parent saves what was counted before."""
        self._lock = RLock()  # a handler of a signal may count as well
        self._saving = Lock()
        self._tally.begin_anew()
        self._saved = self._tally.counted()  # what of it is in the row
        self._expected = False  # whether the saver knows that something is to be saved

    @staticmethod
    def of(thing: DurableObject, store_id: str, *, writes: bool) -> "Counts":
        """Return the counts of a store, the same ones for all caches of it, as long as one of them or a count is left.

        Args:
            thing: the object that the store is in.
            store_id: its id.
            writes: whether they may be saved; those of caches that write nothing are apart from those of others.
        """
        return _ALL.of(thing, store_id, writes)

    def add(self, **increments: Unpack[Increments]) -> None:
        """Add to some of the counts."""
        self._add(cast("Mapping[str, float]", increments))

    def refuse(self, reason: Refusal) -> None:
        """Count an answer that is not kept."""
        self._add({_REFUSED[reason]: 1})

    def hit(self, saves: Sequence[float]) -> None:
        """Count a call that a record answered.

        Args:
            saves: how many bytes the answer takes, and what its call took: tokens, US dollars, seconds.
        """
        noted = self._tally.noted
        noted.append(saves)
        if not self._expected:
            self._expect()
        elif len(noted) >= _MOST_NOTED:
            self._tally.counted()

    def stats(self) -> Statistics:
        """Return what was ever counted for the store, and save what was not. Never raises.

        Where the file cannot be read, that is what this process knows.
        """
        _TELEMETRY.offer()
        self._exchange(reads=True)
        with self._lock:
            return _statistics(_sum(self._stored, self._unsaved()))

    async def astats(self) -> Statistics:
        """Awaiting twin of `stats`."""
        return await off_loop(self.stats)

    def save(self) -> bool:
        """Save what was counted since, if there is the file and it may be written; return False where that failed.

        Never raises: what was not saved is kept until the next time.
        """
        return self._exchange(reads=False)

    async def asave(self) -> bool:
        """Awaiting twin of `save`; it goes on to its end where the task is cancelled, so nothing is added twice."""
        return await off_loop(self.save)

    def counted(self) -> dict[str, float]:
        """Return what was counted in this process, saved or not; refusals under ``refusals.`` and their reason."""
        return self._tally.counted()

    def _add(self, increments: Mapping[str, float]) -> None:
        self._tally.add(increments)
        if not self._expected:
            self._expect()

    def _expect(self) -> None:
        with self._lock:
            expected, self._expected = self._expected, True
        if not expected:
            _TELEMETRY.offer()
            if self._writes:
                _SAVER.expect(self)

    def _exchange(self, *, reads: bool) -> bool:
        """Add what is not saved to the row; learn what is in the row, if that is asked for."""
        with self._lock:
            self._expected = False
        until = monotonic() + _WAIT
        while self._saving.locked():  # no `acquire`, after which a signal handler's exception would leave it taken
            if monotonic() > until:
                return False
            pause(_LOOK)
        with self._saving:
            settled = self._settle()
            if reads:
                with suppress(Exception):
                    self._stored = self._read(self._thing.storage)
        with self._lock:
            if settled and not self._expected:
                _SAVER.forget(self)
        return settled

    def _settle(self) -> bool:
        counted = self.counted()
        unsaved = _difference(counted, self._saved)
        try:
            if unsaved and self._writes and self._thing.path.exists():
                stored = self._thing.storage.transaction(partial(self._merge, unsaved))
                with self._lock:
                    self._stored, self._saved = stored, counted
        except Exception as error:  # noqa: BLE001 - whatever the store raises, it is tried again later
            raise_interrupt(error)
            return False
        return True

    def _merge(self, unsaved: Mapping[str, float], transaction: Transaction) -> dict[str, float]:
        total = _sum(self._read(transaction), unsaved)
        transaction.put(self._row, total)
        return total

    def _read(self, storage: Storage | Transaction) -> dict[str, float]:
        """Return the row; one that is damaged, or in an unknown format, is reset."""
        try:
            row = storage.get(self._row)
        except CorruptRecordError:
            return {}
        items = row.items() if isinstance(row, dict) else ()
        return {name: count for name, count in items if type(name) is str and type(count) in {int, float}}

    def _unsaved(self) -> dict[str, float]:
        return _difference(self._tally.counted(), self._saved)


class _All:
    """The counts of this process: those that somebody holds, and the sums of those that nobody does any more."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[tuple[DurableObject, str, bool], Counts] = WeakValueDictionary()
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Forget the sums: for a child process, which counts from zero."""
        self._lock = RLock()  # counts may be collected by whoever has the lock
        self._kept: dict[str, dict[str, float]] = {}

    def of(self, thing: DurableObject, store_id: str, writes: bool) -> Counts:  # noqa: FBT001 - part of the key
        _TELEMETRY.offer()
        with self._lock:
            found = self._held.get((thing, store_id, writes))
            if found is None:
                found = self._held[thing, store_id, writes] = Counts(thing, store_id, writes=writes)
            return found

    def keep(self, store_id: str, tally: Tally) -> None:
        with self._lock:
            self._kept[store_id] = _sum(self._kept.get(store_id, {}), tally.counted())

    def totals(self) -> dict[str, dict[str, float]]:
        """Return what was counted in this process, by store id."""
        with self._lock:
            totals = dict(self._kept)
            for counts in [*self._held.values()]:
                totals[counts.store_id] = _sum(totals.get(counts.store_id, {}), counts.counted())
            return totals


_ALL = _All()
_SAVER = Saver()
_TELEMETRY = Telemetry(_ALL.totals)


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {**one, **{name: one.get(name, 0) + count for name, count in other.items()}}


def _difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: count - before[name] for name, count in after.items() if count != before[name]}


def _statistics(counts: Mapping[str, Any]) -> Statistics:
    refusals = {reason: counts[name] for reason, name in _REFUSED.items() if counts.get(name)}
    known = {each.name: counts[each.name] for each in fields(Statistics) if each.name in counts}
    return Statistics(**known, refusals=refusals)
