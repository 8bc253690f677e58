"""One turn: what is committed together, and the points in it to which it can be undone."""

from typing import TYPE_CHECKING

from chatcache._bridge import ContextVar, Loop, Outcome, get_ident

from .layer import Layer

if TYPE_CHECKING:
    from .turns import Turns

__all__ = ["CURRENT", "Savepoint", "Turn"]

CURRENT: "ContextVar[Turn | None]" = ContextVar("chatcache_transaction", default=None)
"""The explicit transaction, of whatever object, in whose body the caller is."""


class Turn:
    """What is committed together.

    Attributes:
        loop: the loop whose tasks write, or None for a thread.
        layers: what was written, with a further layer for each transaction that runs inside.
        locked: whether the connection to write by is in a transaction for this turn.
        explicit: whether it is a transaction that the user asked for.
        outer: the explicit transaction that was current when this one began; of another object, that is.
        entered: whether it is its turn.
        rolled_back: whether nothing of it will be kept.
        abandoned: why that is so, where nobody asked for it.
        thread: the thread that began it.
        over: whether nothing more is written in it.
        left: whether it holds up nobody any more.
        outcome: how its commit ended.
    """

    def __init__(self, turns: "Turns", loop: Loop | None, *, explicit: bool = False) -> None:
        self.turns = turns
        self.loop = loop
        self.layers = [Layer()]
        self.locked = False
        self.outer = CURRENT.get() if explicit else None
        self.entered = self.rolled_back = self.over = self.left = False
        self.abandoned = ""
        self.outcome = Outcome()
        self.thread = get_ident()
        self.explicit = explicit

    @property
    def layer(self) -> Layer:
        """Where is written to now."""
        return self.layers[-1]

    def push(self) -> "Savepoint":
        """Return a point to which everything written from now on can be undone."""
        return Savepoint(self)

    def abandon(self) -> None:
        """End it because its loop was stopped: a transaction is rolled back, any other turn is committed."""
        if self.explicit and self.entered:
            self.give_up("its event loop was stopped in the middle of it, and somebody else had to write")
        else:
            self.turns.end(self)

    def give_up(self, reason: str) -> None:
        """Roll back a transaction whose body still runs, and will be told why."""
        self.abandoned = reason
        self.rolled_back = self.over = True
        self.turns.roll_back(self)


class Savepoint:
    """A point in a turn: a layer, and a savepoint of SQLite where the turn holds its lock."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._depth = len(turn.layers)
        self._was_locked = turn.locked
        if turn.locked:
            self._execute("SAVEPOINT turn_{depth}")
        turn.layers.append(Layer())

    def release(self) -> None:
        """Keep what was written since."""
        later = self._turn.layers.pop()
        self._turn.layer.absorb(later)
        if self._was_locked:
            self._execute("RELEASE turn_{depth}")

    def undo(self) -> None:
        """Forget what was written since."""
        del self._turn.layers[self._depth :]
        if self._was_locked:
            self._execute("ROLLBACK TO turn_{depth}")
            self._execute("RELEASE turn_{depth}")
        elif self._turn.locked:  # by what is undone
            self._execute("ROLLBACK")
            self._turn.locked = False

    def _execute(self, sql: str) -> None:
        with self._turn.turns.writing, self._turn.turns.writer() as connection:
            connection.execute(sql.format(depth=self._depth))
