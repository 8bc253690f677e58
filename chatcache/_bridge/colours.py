"""The colour of a call: whether it blocks, or is awaited."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ["Colour", "awaiting", "blocking", "drive"]

P = ParamSpec("P")
R = TypeVar("R")


class Colour(Protocol):
    """Calls a method or its awaiting twin, which take the same arguments."""

    async def __call__(
        self, method: Callable[P, R], twin: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return what the chosen one returns."""
        ...


async def blocking(method: Callable[P, R], _twin: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call the method."""
    return method(*args, **kwargs)


async def awaiting(_method: Callable[P, R], twin: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Await the twin."""
    return await twin(*args, **kwargs)


def drive(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never suspends, and return its result.

    Raises:
        RuntimeError: it suspended, so something in it was not blocking.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        coroutine.close()
    raise RuntimeError("a blocking call came to something that has to be awaited")
