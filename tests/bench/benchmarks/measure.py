"""Measure two contenders against each other on a machine whose speed drifts.

Their rounds take turns (A B, then B A, and so on), so what slows the machine down for a while slows down both. A round
of one and the round of the other next to it make one ratio, and the median of these ratios is what counts.

Where there is nobody to compare with, what counts is an amount, of milliseconds or of memory.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median

__all__ = ["AbsentError", "Amount", "Line", "Measured", "Row", "Rounds", "measure"]

Rounds = tuple[Callable[[], float], Callable[[], float]]
"""What runs one round of each contender, ours first, and returns how many µs one operation took in it."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is compared, ours first; words on the command line choose rows by it.
        most: the greatest ratio that is asked for, or None where a ratio is only reported.
        prepare: makes the contenders ready, and cleans up after the last round.
        rounds: how many rounds each contender has.

    """

    name: str
    most: float | None
    prepare: Callable[[], AbstractContextManager[Rounds]]
    rounds: int


@dataclass(frozen=True)
class Amount:
    """One line of the table whose figure is no ratio.

    Attributes:
        name: what is measured; words on the command line choose rows by it.
        most: the greatest amount that is asked for, or None where it is only reported.
        unit: what it is an amount of.
        take: measures it.

    """

    name: str
    most: float | None
    unit: str
    take: Callable[[], float]


Line = Row | Amount


class AbsentError(Exception):
    """A contender is not on this machine; the message, of a few words, says which."""


@dataclass(frozen=True)
class Measured:
    """The outcome of a row.

    Attributes:
        row: the row.
        figure: the ratio or the amount, or None where a contender is absent.
        ours: the median of our rounds in µs, where there were any.
        theirs: the median of theirs.
        absent: who is absent.

    """

    row: Line
    figure: float | None
    ours: float | None = None
    theirs: float | None = None
    absent: str = ""

    @property
    def holds(self) -> bool:
        return self.row.most is None or (self.figure is not None and self.figure <= self.row.most)


def measure(row: Line) -> Measured:
    """Measure what a row says."""
    try:
        if isinstance(row, Row):
            return _compared(row)
        with _heap_set_aside():
            return Measured(row, row.take())
    except AbsentError as absent:
        return Measured(row, None, absent=str(absent))


def _compared(row: Row) -> Measured:
    with row.prepare() as (ours, theirs), _heap_set_aside():
        for warm_up in (ours, theirs):
            warm_up()
        pairs = [_pair(ours, theirs, turned=bool(turn % 2)) for turn in range(row.rounds)]
    return Measured(
        row,
        figure=median(our / their for our, their in pairs),
        ours=median(our for our, _ in pairs),
        theirs=median(their for _, their in pairs),
    )


def _pair(ours: Callable[[], float], theirs: Callable[[], float], *, turned: bool) -> tuple[float, float]:
    if turned:
        their = _round(theirs)
        return _round(ours), their
    return _round(ours), _round(theirs)


def _round(contender: Callable[[], float]) -> float:
    gc.collect()  # nobody pays for what the round before left behind
    return contender()


@contextmanager
def _heap_set_aside() -> Iterator[None]:
    """Keep the collector off what the imports left, half a million objects, or a collection would outweigh a round."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
