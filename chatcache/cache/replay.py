"""Replaying a stream: its chunks at once, or as they came when they were recorded."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from typing import Literal, TypeVar

from chatcache._bridge import apause, pause
from chatcache.clock import monotonic
from chatcache.errors import InvalidInputError, shown
from chatcache.interrupts import suppress

__all__ = ["Pace", "apaced", "paced", "parse_pace"]

C = TypeVar("C")

Pace = Literal["instant", "recorded"] | float
"""``"instant"``, ``"recorded"``, or how many times as quick as recorded."""


def parse_pace(pace: Pace) -> float:
    """Return how many times as quick as recorded a stream is replayed; infinite for at once. A result is a pace itself.

    Raises:
        InvalidInputError: it is neither a name of a pace nor a positive number.
    """
    match pace:
        case "instant":
            return math.inf
        case "recorded":
            return 1.0
        case int() | float() if not isinstance(pace, bool) and pace > 0:
            with suppress(OverflowError):  # beyond any float
                return float(pace)
    raise InvalidInputError(
        f"pace={shown(pace)}: pass 'instant', 'recorded', or a positive number, such as 2.0 for twice as quick"
    )


def paced(
    chunks: Iterable[C],
    offsets: Iterable[float],
    pace: Pace,
    *,
    sleep: Callable[[float], object] = pause,
    now: Callable[[], float] = monotonic,
) -> Generator[C, None, None]:
    """Yield each chunk when it is due, counted from when the first one is asked for. Who is late catches up.

    Args:
        chunks: what was recorded.
        offsets: when each of them came, in seconds since the stream began; as many as there are chunks.
        pace: how quick the replay is.
        sleep: waits for so many seconds.
        now: returns seconds that only grow.

    Raises:
        InvalidInputError: as `parse_pace`, when the first chunk is asked for.
        ValueError: there are more offsets than chunks, or fewer.
    """
    for early, chunk in _due(chunks, offsets, parse_pace(pace), now):
        if early > 0:
            sleep(early)
        yield chunk


async def apaced(
    chunks: Iterable[C],
    offsets: Iterable[float],
    pace: Pace,
    *,
    sleep: Callable[[float], Awaitable[object]] = apause,
    now: Callable[[], float] = monotonic,
) -> AsyncGenerator[C, None]:
    """Awaiting twin of `paced`. Before a chunk that is due nothing is awaited."""
    for early, chunk in _due(chunks, offsets, parse_pace(pace), now):
        if early > 0:
            await sleep(early)
        yield chunk


def _due(
    chunks: Iterable[C], offsets: Iterable[float], speed: float, now: Callable[[], float]
) -> Iterator[tuple[float, C]]:
    """Yield how many seconds too early it is for each chunk, and the chunk."""
    began = now()
    for chunk, offset in zip(chunks, offsets, strict=True):
        yield began + offset / speed - now(), chunk
