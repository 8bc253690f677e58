"""The colour of a call: whether it blocks, or is awaited."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ["Colour", "awaiting", "blocking", "drive", "each", "steps"]

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
    except RuntimeError as error:
        if isinstance(error.__cause__, StopIteration):  # no coroutine can raise that one
            raise error.__cause__ from None
        raise
    finally:
        coroutine.close()
    raise RuntimeError("a blocking call came to something that has to be awaited")


def steps(generator: AsyncGenerator[R, None]) -> Generator[R, None, None]:
    """Yield what an async generator yields that never suspends: `drive`, for generators.

    Raises:
        RuntimeError: it suspended.
    """
    try:
        while True:
            try:
                item = drive(_next(generator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        drive(_close(generator))


async def each(colour: Colour, source: Iterable[R] | AsyncIterable[R]) -> AsyncGenerator[R, None]:
    """Yield what an iterable yields, an async one too in awaiting colour; close it where it can be closed."""
    closes = ["close"]
    try:
        if colour is awaiting and isinstance(source, AsyncIterable):
            closes = ["aclose", "close"]
            async for item in source:
                yield item
        elif isinstance(source, Iterable):
            for item in source:
                yield item
    finally:
        close = next((getattr(source, name) for name in closes if hasattr(source, name)), None)
        closing = close() if close is not None else None
        if colour is awaiting and inspect.isawaitable(closing):
            await closing


async def _next(generator: AsyncGenerator[R, None]) -> R:
    return await anext(generator)


async def _close(generator: AsyncGenerator[Any, None]) -> None:
    await generator.aclose()
