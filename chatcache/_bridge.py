"""One source for blocking and awaiting callers: the only module of the engine that knows asyncio and threading.

The logic of a layer is written once, as a coroutine that takes its colour, `blocking` or `awaiting`, and goes through
it wherever the layer below has both a method and its awaiting twin::

    async def _get(self, colour: Colour, key: str) -> Any:
        return await colour(self._storage.get, self._storage.aget, key)

    def get(self, key: str) -> Any:
        return drive(self._get(blocking, key))

    async def aget(self, key: str) -> Any:
        return await self._get(awaiting, key)

In blocking colour nothing in such a coroutine suspends, so `drive` runs it to its end in one step.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from threading import Lock, Thread
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

__all__ = ["Colour", "Lock", "PerLoop", "awaiting", "blocking", "born_daemon", "drive", "finish_apart", "off_loop"]

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

_FINISH_WITHIN = 1.0  # seconds: nothing that is closed when a program ends may hold it up


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


class PerLoop(Generic[V]):
    """One value for each event loop, made when the loop first asks, and dropped when the loop was closed."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._values: dict[asyncio.AbstractEventLoop, tuple[V, asyncio.Lock]] = {}
        self._lock = Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[V]:
        """Give the value of the running loop to one task at a time."""
        value, lock = self._of(asyncio.get_running_loop())
        async with lock:
            yield value

    def _of(self, loop: asyncio.AbstractEventLoop) -> tuple[V, asyncio.Lock]:
        with self._lock:
            if loop not in self._values:
                self._values = {each: value for each, value in self._values.items() if not each.is_closed()}
                self._values[loop] = (self._make(), asyncio.Lock())
            return self._values[loop]

    def clear(self) -> None:
        """Drop the values of all loops."""
        with self._lock:
            self._values = {}


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await a call that may block, made in a thread of the loop's own executor."""
    return await asyncio.to_thread(function, *args, **kwargs)


def born_daemon(make: Callable[[], R]) -> R:
    """Return what `make` makes, called in a daemon thread: the threads that it creates are then daemons too.

    A thread that is none would keep a program alive that ends without closing its cache.
    """
    made: list[R] = []
    thread = Thread(target=lambda: made.append(make()), daemon=True)
    thread.start()
    thread.join()
    return made[0]


def finish_apart(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end on a loop of its own, whatever loop this thread has; give up after a second."""

    async def bounded() -> None:
        await asyncio.wait_for(make(), _FINISH_WITHIN)

    def run() -> None:
        with suppress(TimeoutError):
            asyncio.run(bounded())

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    else:
        thread.join(_FINISH_WITHIN)
