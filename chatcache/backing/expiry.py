"""Entries whose time is over: what their rows say, and how they are deleted.

Those that are met are deleted then. All others are found by the index that is written with each entry that expires, in
the order in which they do, when the alarm of the object goes off: see `sweep_expired`.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from chatcache._bridge import pause
from chatcache.clock import milliseconds, monotonic
from chatcache.storage import Alarm, DurableObject, Storage, Transaction

from .ledger import delete_entries, readable
from .rows import DUE, due_rows, end_of_due, row_of_due

__all__ = ["delete_expired", "is_expired", "live", "sweep_expired", "sweep_some", "sweep_time"]

_TOGETHER = 60_000  # milliseconds: what expires within them is deleted by one alarm
_LATEST = 4_102_444_800_000  # milliseconds since the epoch: the year 2100; no alarm can be much later
_MOST, _LEAST = 100, 25  # rows of the index in a transaction
_MOMENT = 0.008  # seconds that one is to take, more or less
_PAUSE = 0.01  # seconds between two, in which others get on


def is_expired(cell: Any, now: int) -> bool:
    """Return whether what is in the row of an entry, or of its note, says that it expired."""
    match cell:
        case [_, int() as expires] | [None, int() as expires, int(), int()]:
            return expires <= now
        case _:
            return False


def live(cell: Any, now: int, default: Any) -> Any:
    """Return the value in a row, or the default where there is none, or it expired."""
    match cell:
        case [value, None]:
            return value
        case [value, int() as expires] if expires > now:
            return value
        case _:
            return default


def delete_expired(transaction: Transaction, *, rows: Iterable[str], now: int) -> None:
    """Delete those entries that are really expired, with all that belongs to them."""
    expired = {row: cell for row, cell in readable(transaction, rows).items() if is_expired(cell, now)}
    if expired:
        delete_entries(transaction, expired)


def sweep_time(expires: int) -> float:
    """Return when the alarm is to go off for an entry, in seconds since the epoch."""
    return min(-(-expires // _TOGETHER) * _TOGETHER, _LATEST) / 1000


def sweep_expired(thing: DurableObject, alarm: Alarm) -> None:  # noqa: ARG001 - what a handler is called with
    """Delete what expired in the stores of an object, give the space back, and set the alarm for what expires next.

    This is the handler for ``ObjectNamespace(alarm=)`` where stores are of ``DurableObjectPersistence(sweeps=True)``.
    It goes by the clock of the namespace, and deletes a few entries at a time, so that others hardly notice.

    Args:
        thing: the object.
        alarm: what it is called for.

    Raises:
        StorageError: the file cannot be written; the handler is called again.
    """
    storage = thing.storage
    stores = {_store_of(key) for key in _firsts(storage)}
    for store in stores:
        _sweep_store(storage, store)
    if stores:  # else the alarm was somebody else's, or that of a store that was cleared
        storage.transaction(partial(_set_next_alarm, now=milliseconds(storage.clock)))
    while storage.give_back():
        pause(_PAUSE)


def _firsts(rows: Storage | Transaction) -> Iterator[str]:
    """Yield the first key in the index of each store, looked for behind all those of the one before."""
    start = DUE
    while found := rows.sizes(prefix=DUE, start=start, limit=1):
        key = next(iter(found))
        yield key
        store = _store_of(key)
        start = f"{DUE}{store};" if key.startswith(due_rows(store)) else f"{key}\0"  # ";" comes behind ":"


def _store_of(due: str) -> str:
    """Return the escaped id of a store, from a key in the index."""
    return due.removeprefix(DUE).partition(":")[0]


def _sweep_store(storage: Storage, store: str) -> None:
    """Delete what expired in a store, as many entries at a time as take a moment."""
    most = _LEAST
    while True:
        began = monotonic()
        if not storage.transaction(partial(sweep_some, store=store, most=most, now=milliseconds(storage.clock))):
            return
        took = monotonic() - began
        most = max(_LEAST, min(_MOST, round(most * min(2, _MOMENT / took))))
        pause(_PAUSE)
        storage.give_back()


def sweep_some(transaction: Transaction, *, store: str, most: int, now: int) -> int:
    """Delete a few entries of a store that expired, by their rows in the index; return how many of these there were."""
    due = [*transaction.sizes(prefix=due_rows(store), end=end_of_due(store, now), limit=most)]
    if due:
        delete_expired(transaction, rows=[found[1] for key in due if (found := row_of_due(key))], now=now)
        transaction.change(dict.fromkeys(due))
    return len(due)


def _set_next_alarm(transaction: Transaction, *, now: int) -> None:
    """Have the alarm go off for what expires next, and not for what it went off for."""
    alarm = transaction.get_alarm()
    if alarm is None or alarm.timestamp() * 1000 <= now:  # it is being handled; and whoever writes from now on sets one
        transaction.delete_alarm()
    for first in [*_firsts(transaction)]:
        key: str | None = first
        while key is not None:
            if (found := row_of_due(key)) is not None:
                transaction.change({}, alarm=sweep_time(found[0]))
                break
            transaction.change({key: None})  # nobody of ours wrote it
            key = next(iter(transaction.sizes(prefix=due_rows(_store_of(first)), limit=1)), None)
