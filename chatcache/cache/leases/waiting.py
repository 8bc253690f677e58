"""What those do who wait for the lease of another, and who must not."""

from collections.abc import Iterator
from time import monotonic
from typing import Any

from chatcache._bridge import RENEWALS, Colour, ContextVar, Held, awaited_within, blocking

from .rows import LeaseRow, Left

__all__ = ["HOLDS", "Watch", "must_not_wait", "pauses"]

_SHORTEST = 0.01  # seconds between two looks

HOLDS: "ContextVar[tuple[Held, ...]]" = ContextVar("chatcache_leases", default=())
"""The leases of the calls that the caller is part of; a task may outlive them."""


class Watch:
    """What somebody who waits has seen of a lease.

    Attributes:
        row: what it says now.
        leader: the last owner who led; empty where there was none so far.
    """

    def __init__(self, length: float) -> None:
        self._length = length
        self._since = 0.0
        self.row: LeaseRow | None = None
        self.leader = ""

    def see(self, cell: Any) -> None:
        """Take note of what the row holds now."""
        row = LeaseRow.read(cell)
        if row != self.row:
            self.row, self._since = row, monotonic()
        if row is not None and row.leads():
            self.leader = row.owner

    def unchanged(self) -> LeaseRow | None:
        """Return the row, if nobody renewed it for a whole length, or it is known that nobody will."""
        row = self.row
        dead = row is not None and row.left is None and RENEWALS.is_dead(row.owner)
        return row if dead or monotonic() - self._since >= self._length else None

    def goes_on(self) -> bool:
        """Return whether the leader that was seen last still leads."""
        row = self.row
        return row is not None and row.owner == self.leader and row.leads() and row != self.unchanged()

    def is_free(self) -> bool:
        """Return whether nobody leads, nor has left what is to be told."""
        if self.row is None or self.row == self.unchanged():
            return True
        return not self.row.leads() and self.left() is None

    def left(self) -> Left | None:
        """Return what was left by the leader that was waited for."""
        return self.row.left if self.row is not None and self.row.owner == self.leader else None


def pauses(longest: float) -> Iterator[float]:
    """Yield for how many seconds to wait between two looks, growing."""
    seconds = _SHORTEST
    while True:
        yield seconds
        seconds = min(seconds * 1.5, longest)


def must_not_wait(colour: Colour, leader: str) -> bool:
    """Return whether the leader may be waiting for the caller, by whatever way."""
    holds = any(not lease.over for lease in HOLDS.get())
    return holds or awaited_within() or (colour is blocking and RENEWALS.blocks(leader))
