"""What the limited stores of an object hold, exactly, whoever wrote or deleted it.

============================  ==================================================================================
``%total:{store}``            ``[entries, bytes]`` of a store
``%use:{store}:{key}``        ``[bytes, used]`` of an entry, when it was last used in milliseconds since the epoch;
                              ``[bytes, used, expires]`` where it expires
============================  ==================================================================================

The bytes of an entry are those of its key, its value and its note, as stored. Both rows are written in the transaction
of the entry itself, where there is a total also by those who have no limits. Where there is none, or where one of these
cannot be read, the next one who has limits counts anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chatcache.codec import encode
from chatcache.errors import CorruptRecordError
from chatcache.storage import Transaction

from .large import Written
from .rows import (
    DUE,
    due_row,
    key_of,
    note_row,
    part_rows,
    row_of_note,
    row_of_part,
    rows_of_store,
    store_of,
    total_row,
    use_row,
)

__all__ = [
    "Total",
    "Use",
    "count",
    "delete_entries",
    "put_entries",
    "list_uses",
    "read_total",
    "read_uses",
    "readable",
    "size_of",
    "total_of",
    "use_rows",
]

Total = tuple[int, int]
"""Entries, and their bytes."""

_PAGE = 500  # rows


@dataclass(frozen=True, slots=True)
class Use:
    """What is known of an entry.

    Attributes:
        size: its bytes.
        used: when it was last used, in milliseconds since the epoch.
        expires: when it expires, or None where it does not, or nobody noted it.
    """

    size: int
    used: int
    expires: int | None = None

    @classmethod
    def of(cls, cell: Any) -> "Use | None":
        """Return what is in a row, or None where it is none of these."""
        match cell:
            case [int() as size, int() as used, *rest] if len(rest) <= 1:
                return cls(size, used, *rest)
            case _:
                return None

    def encoded(self) -> bytes:
        """Return what is to be in the row."""
        return encode([self.size, self.used] if self.expires is None else [self.size, self.used, self.expires])


def total_of(cell: Any) -> Total | None:
    """Return what is in the row of a total, or None where it is none."""
    match cell:
        case [int() as entries, int() as size]:
            return entries, size
        case _:
            return None


def readable(transaction: Transaction, rows: Iterable[str]) -> dict[str, Any]:
    """Return what is in those rows that exist, None for one that cannot be read."""
    rows = [*rows]
    try:
        return transaction.get_many(rows)
    except CorruptRecordError:
        if len(rows) == 1:
            return dict.fromkeys(rows)
        middle = len(rows) // 2
        return readable(transaction, rows[:middle]) | readable(transaction, rows[middle:])


def read_total(transaction: Transaction, store: str) -> Total | None:
    """Return what a store holds, or None where nobody counted it."""
    key = total_row(store)
    return total_of(readable(transaction, [key]).get(key))


def read_uses(transaction: Transaction, rows: Iterable[str]) -> dict[str, Use | None]:
    """Return what is known of those entries of which there is a row, None where that cannot be read."""
    uses = {use_row(row): row for row in rows}
    return {uses[key]: Use.of(cell) for key, cell in readable(transaction, uses).items()}


def list_uses(transaction: Transaction, store: str, *, start_after: str | None, limit: int) -> dict[str, Use | None]:
    """Return what is known of so many entries of a store, in order, after a row of these; as `read_uses`."""
    prefix = rows_of_store(store)["uses"]
    try:
        cells = transaction.list(prefix=prefix, start_after=start_after, limit=limit)
    except CorruptRecordError:
        cells = readable(transaction, transaction.sizes(prefix=prefix, start_after=start_after, limit=limit))
    return {key.removeprefix(use_row("")): Use.of(cell) for key, cell in cells.items()}


def use_rows(noted: Mapping[str, int], uses: Mapping[str, Use | None]) -> dict[str, bytes | None]:
    """Return the rows to write of entries that are still there and were used since that was written."""
    known = ((row, when, uses.get(row)) for row, when in noted.items())
    return {use_row(row): replace(use, used=max(use.used, when)).encoded() for row, when, use in known if use}


def size_of(row: str, rows: Mapping[str, bytes | None]) -> int:
    """Return the bytes of an entry, from the key of its row and what is to be written of it."""
    return len(key_of(row).encode()) + sum(len(data or b"") for key, data in rows.items() if not key.startswith(DUE))


def put_entries(  # noqa: PLR0913 - all by keyword
    transaction: Transaction,
    store: str,
    made: Mapping[str, Written],
    *,
    noted: Mapping[str, int],
    now: int,
    alarm: float | None,
) -> tuple[Total, Total]:
    """Write entries of a store, and what it holds then; return what it held before, and what it holds.

    Args:
        transaction: to write in.
        store: the escaped id.
        made: what is to be written, by the keys of the entries' rows.
        noted: when others were used, which is written as well.
        now: the time in milliseconds since the epoch.
        alarm: when the alarm is to go off at the latest, or None.
    """
    total, uses = read_total(transaction, store), read_uses(transaction, {**noted, **made})
    if total is None or None in uses.values():
        total = count(transaction, store)
        uses = read_uses(transaction, {**noted, **made})
    rows = use_rows(noted, uses)
    entries, size = total
    for row, each in made.items():
        before, use = uses.get(row), Use(size_of(row, each.rows), now, each.expires)
        entries += before is None
        size += use.size - (before.size if before else 0)
        rows |= _index(row, before) | each.rows | {use_row(row): use.encoded()}
    rows[total_row(store)] = encode([entries, size])
    transaction.change(rows, prefixes=map(part_rows, made), alarm=alarm)
    return total, (entries, size)


def delete_entries(transaction: Transaction, cells: Mapping[str, Any]) -> None:
    """Delete entries that there are, with all that belongs to them, by the keys of their rows and what is in these."""
    totals_of = {row: total_row(store_of(row)) for row in cells}
    totals = {key: total_of(cell) for key, cell in readable(transaction, {*totals_of.values()}).items()}
    uses = read_uses(transaction, [row for row in cells if totals_of[row] in totals])
    rows: dict[str, bytes | None] = {}
    for row, cell in cells.items():
        total, use = totals.get(totals_of[row]), uses.get(row)
        if totals_of[row] in totals:
            totals[totals_of[row]] = (total[0] - 1, total[1] - use.size) if total and use else None
            rows[use_row(row)] = None
        rows |= {row: None, note_row(row): None} | _index(row, use) | dict.fromkeys(_due_rows(row, cell))
    rows |= {key: None if total is None else encode([*total]) for key, total in totals.items()}
    transaction.change(rows, prefixes=map(part_rows, cells))


def _index(row: str, use: Use | None) -> dict[str, bytes | None]:
    """Return what deletes the row that says when an entry expires."""
    return {} if use is None or use.expires is None else {due_row(row, use.expires): None}


def _due_rows(row: str, cell: Any) -> Iterator[str]:
    """Yield the key of that row, from what is in the entry's own."""
    match cell:
        case [_, int() as expires, *_]:
            yield due_row(row, expires)


def count(transaction: Transaction, store: str) -> Total:
    """Count what a store holds, and write that down."""
    rows_of = rows_of_store(store)
    sizes = _sizes(transaction, rows_of["entries"])
    for what, row_of in (("notes", row_of_note), ("parts", row_of_part)):
        for key, size in _sizes(transaction, rows_of[what]).items():
            if (row := row_of(key)) in sizes:
                sizes[row] += size
    uses = read_uses(transaction, [key.removeprefix(use_row("")) for key in _sizes(transaction, rows_of["uses"])])
    rows: dict[str, bytes | None] = dict.fromkeys(map(use_row, uses))
    size_of_all = 0
    for row, data in sizes.items():
        size = data + len(key_of(row).encode())
        size_of_all += size
        rows[use_row(row)] = replace(uses.get(row) or Use(size, 0), size=size).encoded()
    total = len(sizes), size_of_all
    transaction.change(rows | {total_row(store): encode([*total])})
    return total


def _sizes(transaction: Transaction, prefix: str) -> dict[str, int]:
    """Return the bytes of all values whose keys begin with a prefix, read a few at a time."""
    sizes: dict[str, int] = {}
    page: dict[str, int] | None = None
    while page is None or len(page) == _PAGE:
        last = next(reversed(sizes), None)
        page = transaction.sizes(prefix=prefix, start_after=last, limit=_PAGE)
        sizes |= page
    return sizes
