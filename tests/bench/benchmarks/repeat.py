"""Operations, again and again, and how long one took.

Reads wait for nothing, so what counts of them is the processor's time, all threads together: other programs on the
machine lengthen it least. Writes wait for the disk, so what counts of them is the time that passes.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, process_time
from typing import TypeVar

from chatcache.storage import Storage

from .answers import Entry

__all__ = ["aeach", "each", "turn"]

T = TypeVar("T")


def each(operate: Callable[[T], object], arguments: Sequence[T], clock: Callable[[], float] = process_time) -> float:
    """Do something for each of some arguments; return the mean of the µs that it took."""
    began = clock()
    for argument in arguments:
        operate(argument)
    return (clock() - began) / len(arguments) * 1e6


async def aeach(
    operate: Callable[[T], Awaitable[object]], arguments: Sequence[T], clock: Callable[[], float] = process_time
) -> float:
    """Awaiting twin of `each`."""
    began = clock()
    for argument in arguments:
        await operate(argument)
    return (clock() - began) / len(arguments) * 1e6


async def turn(storage: Storage, entries: Sequence[Entry]) -> float:
    """Put answers in one turn, and await its commit; return the mean of the µs that an answer took."""
    began = perf_counter()
    for key, value in entries:
        await storage.aput(key, value)
    await storage.aflush()
    return (perf_counter() - began) / len(entries) * 1e6
