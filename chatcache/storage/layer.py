"""Writes that are not committed yet, as a layer over the rows of the file. Pure.

Keys of a listing are in the order of their UTF-8 bytes, which is the order of Python's str.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from chatcache._bridge import Lock

from .ranges import KeyRange

__all__ = ["UNKNOWN", "Layer", "Row", "Unknown", "earlier", "find", "overlaid"]

Row = tuple[str, bytes]


class Unknown:
    """What a layer says of a key that it knows nothing about."""


UNKNOWN: Final = Unknown()

_FEW = 16  # keys that are put in their places one by one


class Layer:
    """Rows that were written, None where one was deleted, over ranges that were cleared before.

    Attributes:
        rows: the value of each key that was written last, or None.
        cleared: ranges from which every row is gone that `rows` does not have, in order; no two of them meet.
        alarm: when the alarm is to go off, in nanoseconds since the epoch, or None for never, if it was set at all.
        latest: where it was not, when it is to go off at the latest, or None where nobody said so.
    """

    __slots__ = ("_keys", "_lock", "alarm", "cleared", "latest", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self.cleared: Sequence[KeyRange] = []
        self.alarm: int | Unknown | None = UNKNOWN
        self.latest: int | None = None
        self._keys: list[str] = []  # in order; those that were added to the rows since the last listing are not in it
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self.rows or self.cleared) or self.alarm is not UNKNOWN or self.latest is not None

    def find(self, key: str) -> bytes | Unknown | None:
        """Return the value of a key, None if it was deleted, `UNKNOWN` if nothing here is about it."""
        found = self.rows.get(key, UNKNOWN)
        return None if found is UNKNOWN and self.clears(key) else found

    def clears(self, key: str) -> bool:
        """Return whether a key is in a range that was cleared."""
        cleared = self.cleared
        behind = bisect_right(cleared, key.encode(), key=_start) if cleared else 0
        return behind > 0 and key in cleared[behind - 1]

    def within(self, bounds: KeyRange, most: int | None = None, *, reverse: bool = False) -> "tuple[Layer, KeyRange]":
        """Return what it says of a range now, whatever another thread writes to it next.

        Where there are more rows than `most` in the range, return those at its beginning, or at its end if `reverse`,
        and the part of the range that they are in.
        """
        copied = Layer()
        with self._lock:
            low, high = self._places(bounds)
            if most is not None and high - low > most:
                low, high = (high - most, high) if reverse else (low, low + most)
                edge = self._keys[low if reverse else high - 1].encode()
                bounds = replace(bounds, start=edge) if reverse else replace(bounds, end=edge + b"\0")
            copied._keys = self._keys[low:high]
            copied.rows = {key: self.rows[key] for key in copied._keys}
            first, last = _meeting(self.cleared, bounds)
            copied.cleared = self.cleared[first:last]
        return copied, bounds

    def put(self, rows: Mapping[str, bytes | None]) -> None:
        """Write rows, or None to delete one."""
        with self._lock:
            self.rows.update(rows)

    def clear(self, *ranges: KeyRange) -> None:
        """Delete every row of ranges, none of them empty: those of the file and those that were written before."""
        if not ranges:
            return
        with self._lock:
            self.cleared = _with_ranges(self.cleared, ranges)  # before the rows go, for those who look meanwhile
            for bounds in ranges if self.rows else ():
                low, high = self._places(bounds)
                for key in self._keys[low:high]:
                    del self.rows[key]
                del self._keys[low:high]

    def ring_by(self, when: int) -> None:
        """Have the alarm go off at a time at the latest."""
        if isinstance(self.alarm, Unknown):
            self.latest = earlier(self.latest, when)
        else:
            self.alarm = earlier(self.alarm, when)

    def absorb(self, later: "Layer") -> None:
        """Add what was written later."""
        self.clear(*later.cleared)
        self.put(later.rows)
        if later.alarm is not UNKNOWN:
            self.alarm = later.alarm
        elif later.latest is not None:
            self.ring_by(later.latest)

    def _places(self, bounds: KeyRange) -> tuple[int, int]:
        """Return from where to where the keys of a range are among those in order."""
        new = len(self.rows) - len(self._keys)
        added = islice(reversed(self.rows), new)
        if new <= _FEW:
            for key in added:
                insort(self._keys, key)
        else:
            self._keys += added
            self._keys.sort()
        low = bisect_left(self._keys, bounds.start, key=str.encode)
        return low, len(self._keys) if bounds.end is None else bisect_left(self._keys, bounds.end, key=str.encode)


def earlier(one: int | None, other: int | None) -> int | None:
    """Return the earlier of two times, of which None is never."""
    return min((each for each in (one, other) if each is not None), default=None)


def find(layers: Iterable[Layer], key: str) -> bytes | Unknown | None:
    """Return what the first of some layers, the newest first, says of a key."""
    for layer in layers:
        found = layer.find(key)
        if found is not UNKNOWN:
            return found
    return UNKNOWN


def overlaid(layers: Sequence[Layer], rows: Iterable[Row], bounds: KeyRange) -> Mapping[str, bytes]:
    """Return the rows of a range as they are under layers, the newest first; in no order."""
    result = dict(rows)
    for layer in reversed(layers):
        if layer.cleared:
            result = {key: value for key, value in result.items() if not layer.clears(key)}
        over, _ = layer.within(bounds)
        for key, value in over.rows.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = value
    return result


def _start(bounds: KeyRange) -> bytes:
    return bounds.start


def _meeting(ranges: Sequence[KeyRange], bounds: KeyRange) -> tuple[int, int]:
    """Return from where to where the ranges are, of those in order, that overlap another one or border on it."""
    first = bisect_right(ranges, bounds.start, key=_start)
    if first > 0:
        end = ranges[first - 1].end
        first -= end is None or end >= bounds.start
    return first, len(ranges) if bounds.end is None else bisect_right(ranges, bounds.end, key=_start)


def _with_ranges(ranges: Sequence[KeyRange], added: Sequence[KeyRange]) -> Sequence[KeyRange]:
    """Return ranges in order, and others among them; those that overlap or border on each other are joined."""
    if len(added) == 1:
        if not ranges:
            return added
        first, last = _meeting(ranges, added[0])
        return [*ranges[:first], _joined([*ranges[first:last], added[0]]), *ranges[last:]]
    result: list[KeyRange] = []
    for bounds in sorted([*ranges, *added], key=_start):
        before = result[-1] if result else None
        if before is None or (before.end is not None and before.end < bounds.start):
            result.append(bounds)
        else:
            result[-1] = _joined([before, bounds])
    return result


def _joined(ranges: Sequence[KeyRange]) -> KeyRange:
    """Return the one range that some make together."""
    ends = [each.end for each in ranges if each.end is not None]
    return KeyRange(min(each.start for each in ranges), max(ends) if len(ends) == len(ranges) else None)
