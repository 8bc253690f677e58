"""Waiting for another process's lease."""

from collections.abc import Iterator
from typing import Any

from chatcache._bridge import RENEWALS, Colour, ContextVar, Held, awaited_within, blocking
from chatcache.clock import monotonic
from chatcache.storage import Budget

from .alive import Alive
from .rows import LeaseRow, Left

__all__ = ["HOLDS", "Watch", "must_not_wait", "pauses"]

_SHORTEST = 0.01  # seconds between two looks
_LAST = 0.5  # seconds that a call may wait for the file after it waited until a lease ran out
_LOOK = 0.2  # seconds between two looks at whether the leader's process lives

HOLDS: "ContextVar[tuple[Held, ...]]" = ContextVar("chatcache_leases", default=())
"""The leases of the calls that the caller is part of; a task may outlive them."""


class Watch:
    """What somebody who waits has seen of a lease.

    Args:
        length: how many seconds a lease lasts that is not renewed.
        alive: knows whether processes live.

    Attributes:
        row: what it says now.
        leader: the last owner who led; empty where there was none so far.
    """

    def __init__(self, length: float, alive: Alive) -> None:
        self._length = length
        self._alive = alive
        self._since = 0.0
        self._looks_at = 0.0
        self._dead = ""  # the owner that is known to have ended
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
        dead = row is not None and row.left is None and self._is_dead(row)
        return row if dead or monotonic() - self._since >= self._length else None

    def hurry(self, budget: Budget) -> None:
        """Leave a call little time for its other steps if it waited until a lease ran out.

        The leader may be stopped and hold the lock of the file: a call waits for its lease or for its lock, not both.
        """
        row = self.row
        if row is not None and row.left is None and row.owner == self.leader != self._dead and not self.goes_on():
            budget.limit(_LAST)

    def goes_on(self) -> bool:
        """Return whether the leader that was seen last still leads."""
        row = self.row
        return row is not None and row.owner == self.leader and row.leads() and row != self.unchanged()

    def is_free(self) -> bool:
        """Return whether the lease is free and no result is pending."""
        if self.row is None or self.row == self.unchanged():
            return True
        return not self.row.leads() and self.left() is None

    def _is_dead(self, row: LeaseRow) -> bool:
        """Return whether an owner cannot go on: its process ended, or, where that is this one, its loop stalled."""
        if RENEWALS.is_dead(row.owner):
            return True
        now = monotonic()
        if row.owner != self._dead and now >= self._looks_at:
            self._looks_at = now + _LOOK
            self._dead = row.owner if self._alive.is_dead(row.alive) else self._dead
        return row.owner == self._dead

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
    """Return whether the leader may be waiting for the caller, by whatever way.

    A process that was forked within a call does not know when its parent's call ends, and never waits there.
    """
    holds = any(not lease.over or not RENEWALS.is_own(lease.owner) for lease in HOLDS.get())
    return holds or awaited_within() or (colour is blocking and RENEWALS.blocks(leader))
