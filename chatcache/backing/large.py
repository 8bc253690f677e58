"""Values that take more than a row: cut into parts when they are written, and joined when they are read.

The row of such a value says in how many parts it is, and holds a checksum over all of them; they are read of one
moment, together with it. So parts of two values are never taken for one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from chatcache.codec import DAMAGED, Part, decode, encode
from chatcache.errors import CorruptRecordError
from chatcache.interrupts import raise_interrupt
from chatcache.storage import Storage

from .rows import due_row, note_part_rows, note_row, part_rows

__all__ = ["Written", "is_heavy", "is_in_parts", "joined", "part_keys", "written"]

_LONGEST_PART = 1024 * 1024  # bytes
_MOST_PARTS = 99_999  # whose numbers have five digits
_HEAVY = 64 * 1024  # characters and items
_DUE = encode(None)
_TRIES = 100  # how often a value is read anew that is being written just then


def is_heavy(value: Any) -> bool:
    """Return whether it takes so long to encode a value that tasks of a loop should not wait for it."""
    left, rest = _HEAVY, [value]
    while rest:
        each = rest.pop()
        if isinstance(each, Part):
            each = each.json
        if isinstance(each, str | bytes | dict | list | tuple | set | frozenset):
            left -= len(each)
            if left < 0:
                return True
            if not isinstance(each, str | bytes):
                rest.extend(each.values() if isinstance(each, dict) else each)
    return False


@dataclass(frozen=True, slots=True)
class Written:
    """What is to be written of an entry.

    Attributes:
        rows: its rows, encoded; None for that of the note where there is none.
        expires: when it expires, in milliseconds since the epoch, or None for never.
    """

    rows: dict[str, bytes | None]
    expires: int | None


def written(row: str, value: Any, note: Any, expires: int | None, longest_row: int) -> Written:
    """Return what is to be written of an entry.

    Args:
        row: the key of the entry's row.
        value: its value.
        note: its note, or None.
        expires: when it expires.
        longest_row: how many bytes a key and its value may take together.

    Raises:
        InvalidValueError: some part of the value or of the note is of no storable type.
    """
    rows = _split(row, value, expires, part_rows(row), longest_row)
    if note is None:
        rows[note_row(row)] = None
    else:
        rows |= _split(note_row(row), note, expires, note_part_rows(row), longest_row)
    if expires is not None:
        rows[due_row(row, expires)] = _DUE
    return Written(rows, expires)


def _split(key: str, value: Any, expires: int | None, parts: str, longest_row: int) -> dict[str, bytes | None]:
    """Return the one row of a value, or where that would be too large one that counts the others, and those."""
    data = encode([value, expires])
    size = min(_LONGEST_PART, longest_row - len(parts.encode()) - 6)  # a number of five digits, a byte of form
    if size <= 0 or len(key.encode()) + len(data) <= longest_row:  # or else it is for the storage to refuse the key
        return {key: data}
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    rows = dict(zip(part_keys(parts, len(pieces)), map(encode, pieces), strict=True))
    return {key: encode([None, expires, len(pieces), crc32(data)]), **rows}


def part_keys(parts: str, number: int) -> list[str]:
    """Return the keys of so many parts."""
    return [f"{parts}{at:05}" for at in range(number)]


def is_in_parts(cell: Any) -> bool:
    """Return whether what is in the row of a value says that it is in parts."""
    match cell:
        case [None, int() | None, int() as number, int()]:
            return 0 < number <= _MOST_PARTS
        case _:
            return False


def joined(storage: Storage, key: str, cell: Any, parts: str) -> Any:
    """Return what would be in the row of a value if it were not in parts, or None where it is gone meanwhile.

    Args:
        storage: where the rows are.
        key: the key of the value's row.
        cell: what was found there.
        parts: what the keys of its parts begin with.

    Raises:
        CorruptRecordError: parts of it are missing or damaged.
    """
    for _ in range(_TRIES):
        keys = part_keys(parts, cell[2])
        found = storage.get_many([key, *keys])
        if is_in_parts(found.get(key)) and found[key][2] == cell[2] and len(found) > len(keys):
            return _decoded(key, map(found.__getitem__, keys), found[key][3])
        cell = found.get(key)
        if not is_in_parts(cell):
            return cell
    raise CorruptRecordError(f"key {key!r}: not all of its {cell[2]:,} parts are there")


def _decoded(key: str, pieces: Iterable[Any], checksum: int) -> Any:
    try:
        data = b"".join(pieces)
        return decode(data if crc32(data) == checksum else DAMAGED)
    except (CorruptRecordError, TypeError) as error:
        raise_interrupt(error)
        raise CorruptRecordError(f"key {key!r}: {error}") from error
