"""The row of a lease."""

from dataclasses import dataclass
from typing import Any

from chatcache.clock import milliseconds, real_time

__all__ = ["FOLLOWED", "UNHEARD", "WAITED_FOR", "LeaseRow", "Left", "time_after"]

UNHEARD, WAITED_FOR, FOLLOWED = 0, 1, 2
"""What waiters need from the leader: nothing, as nobody waits; how its call ends; and also each item until then."""


@dataclass(frozen=True, slots=True)
class Left:
    """The leader's result when it stored no answer.

    Attributes:
        note: what it left to say why, a JSON value.
    """

    note: Any


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """What the row of a lease says.

    Attributes:
        owner: the id of the taking.
        until: when it is over, in milliseconds since the epoch.
        heard: whether anybody waits for what the leader leaves, or also wants to hear what it says.
        alive: how to find out whether the owner's process still lives (``alive.py``), or empty.
        left: what its owner left, or None while it leads.
    """

    owner: str
    until: int
    heard: int = UNHEARD
    alive: str = ""
    left: Left | None = None

    @classmethod
    def read(cls, cell: Any) -> "LeaseRow | None":
        """Return what a row says, or None if there is no row, or one in an unknown format."""
        match cell:
            case [str() as owner, int() as until, int() as heard, str() as alive]:
                return cls(owner, until, heard, alive)
            case [str() as owner, int() as until, int() as heard, str() as alive, note]:
                return cls(owner, until, heard, alive, Left(note))
            case _:
                return None

    def leads(self) -> bool:
        """Return whether its owner leads, as far as the time says."""
        return self.left is None and milliseconds(real_time) < self.until

    def cell(self) -> list[Any]:
        """Return the row itself."""
        return [self.owner, self.until, self.heard, self.alive, *([] if self.left is None else [self.left.note])]


def time_after(seconds: float) -> int:
    """Return the time in so many seconds, in milliseconds since the epoch."""
    return milliseconds(real_time) + round(seconds * 1000)
