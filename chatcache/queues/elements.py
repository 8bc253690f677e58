"""The elements of a persisted queue, and the steps that they take, each of them one transaction.

====================================  =================================  =========================================
``%queue:{name}:element:{id}``        how far an element is              ``[state, attempts, due, number, owner]``
``%queue:{name}:value:{id}``          its value, until it is completed   what its schema stores
``%queue:{name}:due:{due}:{number}``  that it is to be taken from then   its id
``%queue:{name}:completed:{t}:{id}``  that it was completed then         null
``%queue:{name}:failed:{t}:{id}``     that it failed for good then       why, a text
``%queue:{name}:number``              how many were offered so far       a whole number
====================================  =================================  =========================================

Times are in milliseconds since the epoch, names are escaped as in `chatcache.backing.rows`. An element that is claimed
stays pending, and is due again when its lease ends: so it is taken anew where the process of its claim was killed.
"""

from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

from chatcache.backing.names import check_store_id
from chatcache.backing.rows import escape
from chatcache.clock import Clock, milliseconds
from chatcache.codec import encode
from chatcache.errors import CorruptRecordError
from chatcache.interrupts import suppress
from chatcache.memory_storage import Rows
from chatcache.storage.ranges import check_key

__all__ = ["Claim", "Elements"]

_Change = dict[str, bytes | None]

_LATEST = 10**13 - 1  # in the year 2286
_BATCH = 1_000  # elements that are cleaned up in one transaction


@dataclass(frozen=True, slots=True)
class _Element:
    """How far an element is: ``pending``, ``completed`` or ``failed``; the owner is the claim that holds it."""

    state: str
    attempts: int
    due: int
    number: int
    owner: str = ""

    def cell(self) -> list[Any]:
        """Return what is in its row."""
        return [self.state, self.attempts, self.due, self.number, self.owner]


@dataclass(frozen=True, slots=True)
class Claim:
    """That somebody works on an element.

    Attributes:
        id: that of the element.
        attempts: how often it was claimed, this time counted.
        due: when it was due before.
        owner: what tells this claim from all others.
    """

    id: str
    attempts: int
    due: int
    owner: str


class Elements:
    """The elements of one queue. Whoever calls a method that is given `Rows` is in a transaction.

    A claim that is not the last one of its element any more changes nothing.

    Args:
        name: that of the queue.
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._prefix = f"%queue:{escape(check_store_id(name))}:"
        self._clock = clock

    def value_row(self, id_: str) -> str:
        """Return the key of the row of an element's value."""
        return f"{self._prefix}value:{check_key(id_)}"

    @property
    def due(self) -> str:
        """What the keys of the rows of what is due begin with."""
        return f"{self._prefix}due:"

    def due_end(self) -> str:
        """Return the key before which those end that are due by now."""
        return f"{self.due}{self._after(1):013}"

    def offer(self, id_: str, value: bytes, delay: int, rows: Rows) -> None:
        """Add an element that is due after so many milliseconds, unless there is one of its id, in whatever state."""
        if rows.get(self._row(id_)) is None:
            number = (rows.get(f"{self._prefix}number") or 0) + 1
            new: _Change = {f"{self._prefix}number": encode(number), self.value_row(id_): value}
            self._put(id_, _Element("pending", 0, self._after(delay), number), new, rows)

    def claim(self, most: int, lease: int, rows: Rows) -> Claim | None:
        """Claim the first element that is due, for so many milliseconds; None where none is.

        Those whose last attempt never came to an end fail.
        """
        while first := rows.list(prefix=self.due, end=self.due_end(), limit=1):
            ((due_row, id_),) = first.items()
            element = self._read(id_, rows)
            if element is None or element.state != "pending" or due_row != self._due_row(element):
                rows.change({due_row: None, self._ended("failed", id_): encode("what is stored of it is damaged")})
            elif element.attempts >= most:
                claim = Claim(id_, element.attempts, element.due, element.owner)
                self.fail(claim, "its last attempt never came to an end", rows)
            else:
                claim = Claim(id_, element.attempts + 1, element.due, token_hex(8))
                claimed = replace(element, attempts=claim.attempts, due=self._after(lease), owner=claim.owner)
                self._put(id_, claimed, {due_row: None}, rows)
                return claim
        return None

    def complete(self, claim: Claim, rows: Rows) -> None:
        """Have it done; its id is remembered, its value is not."""
        done: _Change = {self._ended("completed", claim.id): encode(None), self.value_row(claim.id): None}
        self._settle(claim, rows, done, state="completed")

    def fail(self, claim: Claim, why: str, rows: Rows) -> None:
        """Have it failed for good."""
        failed: _Change = {self._ended("failed", claim.id): encode(why)}
        self._settle(claim, rows, failed, state="failed")

    def retry(self, claim: Claim, delay: int, rows: Rows) -> None:
        """Have it due after so many milliseconds."""
        self._settle(claim, rows, {}, due=self._after(delay), owner="")

    def release(self, claim: Claim, rows: Rows) -> None:
        """Have it as if it had never been claimed."""
        self._settle(claim, rows, {}, attempts=claim.attempts - 1, due=claim.due, owner="")

    def renew(self, claim: Claim, lease: int, rows: Rows) -> None:
        """Have it claimed for so many milliseconds from now on."""
        self._settle(claim, rows, {}, due=self._after(lease))

    def forget(self, state: str, age: int, rows: Rows) -> int:
        """Delete the first elements that came to a state so many milliseconds ago, or before; return how many."""
        prefix = self.ended(state)
        rows_of_them = rows.list(prefix=prefix, end=f"{prefix}{self._after(1 - age):013}", limit=_BATCH)
        ids = [self.id_of(row, state) for row in rows_of_them]
        rows.change(dict.fromkeys([*rows_of_them, *map(self._row, ids), *map(self.value_row, ids)]))
        return len(ids)

    def ended(self, state: str) -> str:
        """Return what the keys of the rows begin with that say when elements came to a state."""
        return f"{self._prefix}{state}:"

    def id_of(self, row: str, state: str) -> str:
        """Return the id of an element from the key of such a row."""
        return row.removeprefix(self.ended(state)).partition(":")[2]

    def _read(self, id_: str, rows: Rows) -> _Element | None:
        with suppress(CorruptRecordError):
            match rows.get(self._row(id_)):
                case [str() as state, int() as attempts, int() as due, int() as number, str() as owner]:
                    return _Element(state, attempts, due, number, owner)
        return None

    def _settle(self, claim: Claim, rows: Rows, others: _Change, **changes: Any) -> None:
        element = self._read(claim.id, rows)
        if element is not None and (element.state, element.owner) == ("pending", claim.owner):
            self._put(claim.id, replace(element, **changes), {**others, self._due_row(element): None}, rows)

    def _put(self, id_: str, element: _Element, others: _Change, rows: Rows) -> None:
        change = others | {self._row(id_): encode(element.cell())}
        if element.state == "pending":
            change[self._due_row(element)] = encode(id_)
        rows.change(change)

    def _row(self, id_: str) -> str:
        return f"{self._prefix}element:{check_key(id_)}"

    def _due_row(self, element: _Element) -> str:
        return f"{self.due}{element.due:013}:{element.number:013}"

    def _ended(self, state: str, id_: str) -> str:
        return f"{self.ended(state)}{self._after(0):013}:{id_}"

    def _after(self, delay: int) -> int:
        return max(0, min(milliseconds(self._clock) + delay, _LATEST))
