"""The entries of one store id in the storage of an object; `chatcache.backing.rows` says which rows an entry has."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from chatcache._bridge import Colour, awaiting, blocking, drive, off_loop
from chatcache.clock import Clock, milliseconds, monotonic
from chatcache.codec import decode
from chatcache.errors import CorruptRecordError, InvalidNameError
from chatcache.storage import Storage, Transaction
from chatcache.ttl import TTL, expires_at

from .expiry import delete_expired, is_expired, live, sweep_time
from .large import Written, is_heavy, is_in_parts, joined, written
from .ledger import Total, delete_entries, put_entries, readable, total_of
from .port import Entry
from .rows import key_of, note_part_rows, note_row, part_rows, row_of_note, row_of_part, rows_of_store, total_row

__all__ = ["ObjectStore", "Peeked", "StoreLease", "Transact"]

T = TypeVar("T")
_ENDS = 8 * 1024  # bytes of a long note that are enough to tell what it is like
_LOOK = 1.0  # seconds between looks at whether somebody counts what a store holds


class Transact(Protocol):
    """Runs a body in a transaction; returns what the body returns, or None where it was not run."""

    async def __call__(self, colour: Colour, body: Callable[[Transaction], T], /) -> T | None:
        """Run it."""
        ...


class StoreLease(Protocol):
    """What a caller holds while nobody else should store an entry."""

    async def store(
        self, colour: Colour, body: Callable[[Transaction], T], is_there: Callable[[Transaction], bool]
    ) -> T | None:
        """Store an entry by a body and release the lease, in one transaction.

        Return what the body returns; None where the lease was lost and an entry is there, which then stays.
        """
        ...


@dataclass(frozen=True, slots=True)
class Peeked:
    """What is stored of an entry.

    Attributes:
        value: its value, or its note.
        expires: when it expires, in milliseconds since the epoch, or None for never.
        is_expired: whether it has expired.
    """

    value: Any
    expires: int | None
    is_expired: bool


class ObjectStore:
    """The entries of an escaped id.

    What takes the place of an entry, or removes it, takes all of its rows away, in one step and without reading them.

    Args:
        storage: the object's storage.
        store: the escaped id.
        clock: gives the time in seconds since the epoch.
        sweeps: whether to set the alarm for what expires.
        tidies: whether a read deletes what it finds expired, and notes what it used.
    """

    def __init__(self, storage: Storage, store: str, *, clock: Clock, sweeps: bool, tidies: bool) -> None:
        self._storage = storage
        self._sweeps = sweeps
        self._tidies = tidies
        self._store = store
        self._prefix = f"{store}:"
        self._clock = clock
        self._looks_at = 0.0

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a live entry, or `default`."""
        row = self._prefix + key if type(key) is str else self._row(key)
        cell = self._storage.get(row)
        if type(cell) is list and len(cell) == 2 and cell[1] is None:  # noqa: PLR2004 - nearly every one: it never expires
            return cell[0]
        return default if cell is None else drive(self._value(blocking, row, row, cell, default))

    async def aget(self, key: str, default: Any = None) -> Any:
        """Awaiting twin of `get`."""
        row = self._prefix + key if type(key) is str else self._row(key)
        cell = await self._storage.aget(row)
        if type(cell) is list and len(cell) == 2 and cell[1] is None:  # noqa: PLR2004 - as above
            return cell[0]
        return default if cell is None else await self._value(awaiting, row, row, cell, default)

    def recall(self, key: str) -> Any:
        """Return the value of a live entry if it is in memory, else None: then ask `get`.

        Limits do not see that the entry was used.
        """
        data = self._storage.recall(self._prefix + key)
        if data is None:
            return None
        try:
            cell = decode(data)
        except CorruptRecordError:
            return None  # `get` says what is wrong
        if type(cell) is list and len(cell) == 2 and cell[1] is None:  # noqa: PLR2004 - as above
            return cell[0]
        return live(cell, milliseconds(self._clock), None)

    def get_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        """Return one slot for each key, `default` where there is no live, readable entry."""
        return drive(self._get_many(blocking, keys, default))

    async def aget_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        """Awaiting twin of `get_many`."""
        return await self._get_many(awaiting, keys, default)

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of all entries, expired ones among them, in their order; read piece by piece."""
        for row in self._storage.keys(prefix=self._prefix):
            yield row.removeprefix(self._prefix)

    def note(self, key: str) -> Any:
        """Return the note of a live entry, or None."""
        return drive(self._note(blocking, key))

    async def anote(self, key: str) -> Any:
        """Awaiting twin of `note`."""
        return await self._note(awaiting, key)

    def peek(self, key: str) -> Peeked | None:
        """Return what is stored of an entry, also if it has expired, or None; nothing is deleted or noted.

        Raises:
            CorruptRecordError: the entry is damaged.
        """
        return self._peek(self._row(key), self._row(key))

    def peek_note(self, key: str) -> Peeked | None:
        """Return the note of an entry, as `peek` does its value."""
        return self._peek(self._row(key), note_row(self._row(key)))

    def count(self) -> int:
        """Return how many entries the file holds, expired ones among them."""
        return self._storage.count(self._prefix)

    def newest_notes(self) -> Iterator[list[tuple[str, bytes]]]:
        """Yield, page by page, the keys of the entries that have notes, the newest first, each with its note as stored.

        Of a note of more than 16 kB only both ends are given, of one in parts those of its first part. They are not
        checked, and the entries may be gone or have expired: `peek_note` says so.
        """
        prefixes = rows_of_store(self._store)
        for page in self._storage.newest([prefixes["notes"], prefixes["parts"]], length=_ENDS):
            yield [(key_of(row), data) for found, data in page if (row := _row_of_note(found, prefixes["notes"]))]

    def set(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        """Store a value, and a note, over whatever was there."""
        drive(self._set(blocking, [(key, value, ttl)], {key: note}))

    async def aset(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        """Awaiting twin of `set`."""
        await self._set(awaiting, [(key, value, ttl)], {key: note})

    async def keep(  # noqa: PLR0913 - as `set`
        self, colour: Colour, key: str, value: Any, ttl: TTL, *, note: Any, lease: StoreLease | None
    ) -> bool:
        """Store a value as `set` does, under a lease if there is one; return whether it was stored.

        It is not where the lease was lost and somebody else stored an entry.
        """
        made = await self._encoded(colour, [(key, value, ttl)], {key: note})
        if lease is None:
            return await self._put(colour, made)
        row = self._row(key)

        async def transact(colour: Colour, body: Callable[[Transaction], T], /) -> T | None:
            return await lease.store(colour, body, partial(self._is_there, row))

        return await self._put(colour, made, transact)

    def set_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        """Store entries, and the notes of some of them, all or none."""
        drive(self._set(blocking, entries, notes or {}))

    async def aset_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        """Awaiting twin of `set_many`."""
        await self._set(awaiting, entries, notes or {})

    def remove(self, key: str) -> None:
        """Remove an entry."""
        drive(self._remove(blocking, key))

    async def aremove(self, key: str) -> None:
        """Awaiting twin of `remove`."""
        await self._remove(awaiting, key)

    def clear(self) -> None:
        """Remove every entry of this store."""
        drive(self._clear(blocking))

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._clear(awaiting)

    async def _get_many(self, colour: Colour, keys: Sequence[str], default: Any) -> list[Any]:
        rows = [self._row(key) for key in keys]
        try:
            cells = await colour(self._storage.get_many, self._storage.aget_many, rows)
        except CorruptRecordError:
            cells = {row: await self._readable(colour, row) for row in rows}
        now = milliseconds(self._clock)
        self._sweep(cells, now)
        for row in [row for row, cell in cells.items() if is_in_parts(cell)]:
            cells[row] = await self._readable(colour, row)
        return [live(cells.get(row), now, default) for row in rows]

    async def _readable(self, colour: Colour, row: str) -> Any:
        """Return what is in the row of an entry, or None where it cannot be read."""
        try:
            cell = await colour(self._storage.get, self._storage.aget, row)
            return await self._joined(colour, row, row, cell)
        except CorruptRecordError:
            return None

    async def _joined(self, colour: Colour, row: str, key: str, cell: Any) -> Any:
        """Return what is in the row of an entry, or in that of its note, joined where it is in parts."""
        if not is_in_parts(cell):
            return cell
        parts = part_rows(row) if key == row else note_part_rows(row)
        read = partial(joined, self._storage, key, cell, parts)
        return await colour(read, partial(off_loop, read))

    async def _value(self, colour: Colour, row: str, key: str, cell: Any, default: Any) -> Any:
        """Return the value in a row of an entry; the entry is to be deleted where that says that it expired."""
        now = milliseconds(self._clock)
        if is_expired(cell, now):
            self._sweep({row: cell}, now)
            return default
        return live(await self._joined(colour, row, key, cell), now, default)

    def _peek(self, row: str, key: str) -> Peeked | None:
        cell = drive(self._joined(blocking, row, key, self._storage.get(key)))
        match cell:
            case [value, int() | None as expires]:
                return Peeked(value, expires, is_expired(cell, milliseconds(self._clock)))
            case _:
                return None

    async def _note(self, colour: Colour, key: str) -> Any:
        row = self._row(key)
        cell = await colour(self._storage.get, self._storage.aget, note_row(row))
        return await self._value(colour, row, note_row(row), cell, None)

    async def _set(self, colour: Colour, entries: Iterable[Entry], notes: Mapping[str, Any]) -> None:
        await self._put(colour, await self._encoded(colour, [*entries], notes))

    async def _encoded(self, colour: Colour, entries: list[Entry], notes: Mapping[str, Any]) -> dict[str, Written]:
        if colour is awaiting and is_heavy([entries, notes]):
            return await off_loop(self._written, entries, notes)
        return self._written(entries, notes)

    async def _put(self, colour: Colour, made: Mapping[str, Written], transact: Transact | None = None) -> bool:
        """Write entries, in a transaction where one is given; return whether they were written."""
        if transact is not None:
            return await transact(colour, partial(self._put_step, made=made)) is not None
        if await self._is_counted(colour):
            await self._transact(colour, partial(self._put_within, made=made, noted={}))
        else:
            await self._change(colour, _rows(made), map(part_rows, made), self._alarm(made))
        return True

    def _put_step(self, inner: Transaction, made: Mapping[str, Written]) -> bool:
        """Write entries, and what the store holds if somebody counts that."""
        if _is_counted(inner, self._store):
            self._put_within(inner, made, {})
        else:
            inner.change(_rows(made), prefixes=map(part_rows, made), alarm=self._alarm(made))
        return True

    def _is_there(self, row: str, inner: Transaction) -> bool:
        """Return whether the row of an entry holds one that lives."""
        try:
            cell = inner.get(row)
        except CorruptRecordError:
            return False
        return cell is not None and not is_expired(cell, milliseconds(self._clock))

    def _put_within(
        self, inner: Transaction, made: Mapping[str, Written], noted: Mapping[str, int]
    ) -> tuple[Total, Total]:
        """Write entries, and what the store holds; return what it held before, and what it holds."""
        now = milliseconds(self._clock)
        return put_entries(inner, self._store, made, noted=noted, now=now, alarm=self._alarm(made))

    def _alarm(self, made: Mapping[str, Written]) -> float | None:
        """Return when the alarm is to go off at the latest for entries, in seconds since the epoch."""
        ends = [each.expires for each in made.values() if each.expires is not None]
        return sweep_time(min(ends)) if ends and self._sweeps else None

    async def _remove(self, colour: Colour, key: str) -> None:
        row = self._row(key)
        if await self._is_counted(colour):
            await self._transact(colour, lambda inner: delete_entries(inner, readable(inner, [row])))
        else:
            await self._change(colour, {row: None, note_row(row): None}, [part_rows(row)])

    async def _clear(self, colour: Colour) -> None:
        """Delete all rows of the store; `sweep_expired`, which is called at once, gives their space back."""
        alarm = self._storage.clock() if self._sweeps else None
        await self._change(colour, {}, rows_of_store(self._store).values(), alarm)

    async def _is_counted(self, colour: Colour) -> bool:
        """Return whether somebody counts what the store holds; that nobody does is taken to be so for a moment."""
        if monotonic() < self._looks_at:
            return False
        try:
            cell = await colour(self._storage.get, self._storage.aget, total_row(self._store))
        except CorruptRecordError:
            return False
        is_counted = total_of(cell) is not None
        if not is_counted:
            self._looks_at = monotonic() + _LOOK
        return is_counted

    async def _transact(self, colour: Colour, body: Callable[[Transaction], T]) -> T:
        return await colour(partial(self._storage.transaction, body), partial(self._storage.abatch, body))

    async def _change(
        self,
        colour: Colour,
        rows: Mapping[str, bytes | None],
        prefixes: Iterable[str],
        alarm: float | None = None,
    ) -> None:
        """Take one step; what the store holds is counted anew by those who have limits, if they began meanwhile."""
        rows = {**rows, total_row(self._store): None}
        await colour(self._storage.change, self._storage.achange, rows, prefixes=prefixes, alarm=alarm)
        if colour is awaiting:
            await self._storage.aflush()

    def _sweep(self, cells: Mapping[str, Any], now: int) -> None:
        """Have those entries deleted whose rows, or the rows of whose notes, say that they expired."""
        expired = [row for row, cell in cells.items() if is_expired(cell, now)]
        if expired and self._tidies:
            self._storage.sweep(partial(delete_expired, rows=expired, now=now))

    def _row(self, key: str) -> str:
        if isinstance(key, str):
            return self._prefix + key
        raise InvalidNameError(f"key {key!r:.200} is of type {type(key).__name__}: keys are str")

    def _written(self, entries: Iterable[Entry], notes: Mapping[str, Any]) -> dict[str, Written]:
        """Return what is to be written of entries, by the keys of their rows."""
        now, longest = milliseconds(self._clock), self._storage.longest_row
        return {
            (row := self._row(key)): written(row, value, notes.get(key), expires_at(ttl, now), longest)
            for key, value, ttl in entries
        }


def _rows(made: Mapping[str, Written]) -> dict[str, bytes | None]:
    return {key: data for each in made.values() for key, data in each.rows.items()}


def _row_of_note(found: str, notes: str) -> str | None:
    """Return the key of the row of an entry, from that of its note's row or first part; None where it is another part.

    Args:
        found: the key of a row of a note or of a part.
        notes: what the keys of the notes begin with.
    """
    if found.startswith(notes):
        return row_of_note(found)
    row = row_of_part(found)
    return row if found == f"{note_part_rows(row)}{0:05}" else None


def _is_counted(inner: Transaction, store: str) -> bool:
    try:
        return total_of(inner.get(total_row(store))) is not None
    except CorruptRecordError:
        return False
