"""Writes that are not committed yet, as a layer over the rows of the file. Pure.

Keys of a listing are in the order of their UTF-8 bytes, which is the order of Python's str.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from .ranges import KeyRange

__all__ = ["UNKNOWN", "Layer", "Row", "Unknown", "find", "overlaid"]

Row = tuple[str, bytes]


class Unknown:
    """What a layer says of a key that it knows nothing about."""


UNKNOWN: Final = Unknown()


class Layer:
    """Rows that were written, None where one was deleted, over ranges that were cleared before.

    Attributes:
        rows: the value of each key that was written last, or None.
        cleared: ranges from which every row is gone that `rows` does not have.
        alarm: when the alarm is to go off, in nanoseconds since the epoch, or None for never, if it was set at all.
    """

    __slots__ = ("alarm", "cleared", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self.cleared: list[KeyRange] = []
        self.alarm: int | Unknown | None = UNKNOWN

    def __bool__(self) -> bool:
        return bool(self.rows or self.cleared) or self.alarm is not UNKNOWN

    def find(self, key: str) -> bytes | Unknown | None:
        """Return the value of a key, None if it was deleted, `UNKNOWN` if nothing here is about it."""
        found = self.rows.get(key, UNKNOWN)
        if found is UNKNOWN and any(key in bounds for bounds in self.cleared):
            return None
        return found

    def copy(self) -> "Layer":
        """Return it as it is now, whatever another thread writes to it next."""
        copied = Layer()
        copied.cleared, copied.rows, copied.alarm = [*self.cleared], self.rows.copy(), self.alarm
        return copied

    def clear(self, bounds: KeyRange) -> None:
        """Delete every row of a range, those of the file and those that were written before."""
        self.rows = {key: value for key, value in self.rows.items() if key not in bounds}
        self.cleared.append(bounds)

    def absorb(self, later: "Layer") -> None:
        """Add what was written later."""
        for bounds in later.cleared:
            self.clear(bounds)
        self.rows.update(later.rows)
        if later.alarm is not UNKNOWN:
            self.alarm = later.alarm


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
        for cleared in layer.cleared:
            result = {key: value for key, value in result.items() if key not in cleared}
        for key, value in layer.rows.items():
            if key in bounds:
                if value is None:
                    result.pop(key, None)
                else:
                    result[key] = value
    return result
