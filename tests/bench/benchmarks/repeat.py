"""Operations, again and again, and how long one took."""

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TypeVar

from chatcache.storage import Storage

from .answers import Entry

__all__ = ["aeach", "each", "turn"]

T = TypeVar("T")


def each(operate: Callable[[T], object], arguments: Sequence[T]) -> float:
    """Do something for each of some arguments; return the mean of the µs that it took."""
    began = perf_counter()
    for argument in arguments:
        operate(argument)
    return (perf_counter() - began) / len(arguments) * 1e6


async def aeach(operate: Callable[[T], Awaitable[object]], arguments: Sequence[T]) -> float:
    """Awaiting twin of `each`."""
    began = perf_counter()
    for argument in arguments:
        await operate(argument)
    return (perf_counter() - began) / len(arguments) * 1e6


async def turn(storage: Storage, entries: Sequence[Entry]) -> float:
    """Put answers in one turn, and await its commit; return the mean of the µs that an answer took."""
    began = perf_counter()
    for key, value in entries:
        await storage.aput(key, value)
    await storage.aflush()
    return (perf_counter() - began) / len(entries) * 1e6
