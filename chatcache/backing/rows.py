"""The keys of the rows that an entry of a backing store has in an object's storage, and of all others in it. Pure.

======================================  ================================================  ==============================
``{store}:{key}``                       the entry                                         ``[value, expires]``
``%note:{store}:{key}``                 its note                                          ``[note, expires]``
``%part:{store}:{length}:{key}:{n}``    part `n` of an entry that is too large for a row  bytes
``%part:...:{key}:note{n}``             part `n` of such a note                           bytes
``%due:{store}:{expires}:{key}``        that the entry is to be looked at then            null
``%use:{store}:{key}``                  its bytes, and when it was last used              ``[bytes, used]``
``%total:{store}``                      what a store with limits holds                    ``[entries, bytes]``
``%lease:{store}:{key}``                who makes a call: `chatcache.cache.leases`
``%said:{store}:{owner}:{n}``           what it said so far: the same
``%stats:{store}``                      what was counted: `chatcache.cache.statistics`
======================================  ================================================  ==============================

Times are in milliseconds since the epoch; ``expires`` may be null. ``{store}`` is an escaped id, which has no ``:``,
and ``%`` only in ``%25`` and ``%3A``, so that none is one of the words above; ``{length}`` is that of the key, so that
no key's parts are among another's. The index has the store before the time, so that it goes with the rest of a store
that is cleared; there are few stores in an object, and each is asked for what is due. A value that is in parts leaves
``[null, expires, number of parts, checksum of all]`` in its row.
"""

import re

__all__ = [
    "DUE",
    "due_row",
    "due_rows",
    "escape",
    "key_of",
    "note_part_rows",
    "note_row",
    "part_rows",
    "end_of_due",
    "row_of_due",
    "row_of_note",
    "row_of_part",
    "rows_of_store",
    "store_of",
    "total_row",
    "unescape",
    "use_row",
]

DUE = "%due:"

_NOTE, _PART, _USE = "%note:", "%part:", "%use:"
_LATEST = 10**13 - 1  # in the year 2286


def escape(store_id: str) -> str:
    """Return a store id without ``:``, so that the prefix of a row's key ends at its first ``:``. Injective."""
    return store_id.replace("%", "%25").replace(":", "%3A")


def unescape(store: str) -> str | None:
    """Return the id of a store that is escaped so, or None where no store is."""
    found = store.replace("%3A", ":").replace("%25", "%")
    return found if found and escape(found) == store else None


def store_of(row: str) -> str:
    """Return the escaped id of the store of an entry, from the key of its row."""
    return row.partition(":")[0]


def key_of(row: str) -> str:
    """Return the key of an entry, from that of its row."""
    return row.partition(":")[2]


def note_row(row: str) -> str:
    """Return the key of the row of an entry's note, from that of the entry's own, as all that follow."""
    return _NOTE + row


def part_rows(row: str) -> str:
    """Return what the keys of all parts of an entry and of its note begin with."""
    store, _, key = row.partition(":")
    return f"{_PART}{store}:{len(key)}:{key}:"


def note_part_rows(row: str) -> str:
    """Return what the keys of the parts of its note begin with."""
    return f"{part_rows(row)}note"


def use_row(row: str) -> str:
    """Return the key of the row that says how large an entry is, and when it was last used."""
    return _USE + row


def due_row(row: str, expires: int) -> str:
    """Return the key of the row that says when an entry is to be looked at; in a store they are in order of time."""
    store, _, key = row.partition(":")
    return f"{due_rows(store)}{min(max(expires, 0), _LATEST):013}:{key}"


def due_rows(store: str) -> str:
    """Return what the keys of such rows of a store begin with."""
    return f"{DUE}{store}:"


def end_of_due(store: str, now: int) -> str:
    """Return the key before which those stand that are to be looked at now."""
    return f"{due_rows(store)}{now + 1:013}"


def row_of_due(due: str) -> tuple[int, str] | None:
    """Return when an entry is to be looked at, and the key of its row; None where it is no key of such a row."""
    match due.removeprefix(DUE).split(":", 2):
        case [store, expires, key] if store and re.fullmatch(r"[0-9]{13}", expires):
            return int(expires), f"{store}:{key}"
        case _:
            return None


def row_of_note(note: str) -> str:
    """Return the key of the row of the entry that a note belongs to."""
    return note.removeprefix(_NOTE)


def row_of_part(part: str) -> str:
    """Return the key of the row of the entry that a part belongs to."""
    store, length, rest = part.removeprefix(_PART).split(":", 2)
    return f"{store}:{rest[: int(length)]}"


def total_row(store: str) -> str:
    """Return the key of the row that says what a store holds, of an escaped id."""
    return f"%total:{store}"


def rows_of_store(store: str) -> dict[str, str]:
    """Return what the keys of all rows of a store begin with, of an escaped id, by what they are."""
    return {
        "entries": f"{store}:",
        "notes": f"{_NOTE}{store}:",
        "parts": f"{_PART}{store}:",
        "uses": f"{_USE}{store}:",
        "index": due_rows(store),
    }
