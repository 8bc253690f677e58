"""What tasks wait for, and what each event loop has of its own."""

import asyncio
import os
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import cache, partial
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, ParamSpec, TypeVar

from chatcache.errors import UnsupportedLibraryError
from chatcache.interrupts import raise_interrupt, suppress

from .starting import start

__all__ = [
    "CANCELLATIONS",
    "Loop",
    "Outcome",
    "PerLoop",
    "beside",
    "current_loop",
    "finish_apart",
    "off_loop",
    "running_loop",
    "running_task",
]

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

Loop = AbstractEventLoop

CANCELLATIONS = (asyncio.CancelledError, CancelledError)  # of a task, and of what a thread waits for

_THREADS = 8  # for calls that block for a moment
_FINISH_WITHIN = 1.0  # seconds: nothing that is closed when a program ends may hold it up


def running_loop() -> Loop | None:
    """Return the loop that runs in this thread, or None."""
    return asyncio._get_running_loop()  # noqa: SLF001 - in its __all__; the other one raises where there is none


def current_loop() -> Loop:
    """Return the loop that runs in this thread.

    Raises:
        UnsupportedLibraryError: none does, as under trio.
    """
    loop = running_loop()
    if loop is None:
        raise UnsupportedLibraryError(
            "an awaited method of chatcache needs asyncio, and no asyncio event loop runs in this thread: under trio "
            "or curio, call the blocking method in a thread, as by trio.to_thread.run_sync(cache.call, request, fn)"
        )
    return loop


def running_task() -> object | None:
    """Return the task that runs in this thread, or None."""
    return None if running_loop() is None else asyncio.current_task()


class Outcome:
    """How something ended that threads and tasks of any loop wait for, and any thread brings to its end.

    It is not made of `threading.Condition`, as a `concurrent.futures.Future` or a `threading.Event` is: a Ctrl-C at the
    wrong moment leaves the lock of one locked for good, and whoever ends it waits forever.

    Attributes:
        expected: how many wait for the end, or are about to.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[Loop, list[asyncio.Future[None]]] = {}
        self._bells: list[Lock] = []
        self.expected = 0
        self.done = False
        self.error: Exception | None = None

    def end(self, error: Exception | None = None) -> bool:
        """Set how it ended; return whether anybody will hear of it.

        Each loop is woken once, however many of its tasks wait.
        """
        with self._lock:
            self.done, self.error = True, error
            waiting, self._waiting = self._waiting, {}
            bells, self._bells = self._bells, []
        for bell in bells:
            bell.release()
        for loop, tasks in waiting.items():
            with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
                loop.call_soon_threadsafe(_wake, tasks)
        return self.expected > 0

    def bell(self) -> Lock:
        """Return a lock that is taken until the end: a thread waits by acquiring it."""
        bell = Lock()
        with self._lock:
            if not self.done:
                bell.acquire()
                self._bells.append(bell)
        return bell

    def rung(self, bell: Lock, seconds: float) -> bool:
        """Wait some seconds for a bell; return whether it is the end, though a Ctrl-C kept the bell from ringing."""
        return bell.acquire(timeout=seconds) or self.done

    async def wait(self, most: float = inf) -> bool:
        """Wait for the end, so many seconds at most; raise the error it ended with, or return whether it ended.

        Who waited in vain counts as told: it knows that it does not know.
        """
        loop = current_loop()
        task: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(most, _wake, [task]) if most < inf else None
        with self._lock:
            if self.done:
                task.set_result(None)
            else:
                self.expected += 1
                self._waiting.setdefault(loop, []).append(task)
        try:
            await task
        except asyncio.CancelledError:
            with self._lock:
                self.expected -= 1
                if task in self._waiting.get(loop, ()):
                    self._waiting[loop].remove(task)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if self.error is not None:
            raise self.error
        return self.done


def _wake(tasks: list["asyncio.Future[None]"]) -> None:
    try:
        for task in tasks:
            if not task.done():
                task.set_result(None)
    except Exception as error:  # noqa: BLE001 - a signal handler's, which a loop would only log
        for task in tasks:
            if not task.done():
                task.set_exception(error)


class PerLoop(Generic[V]):
    """One value for each event loop, made when the loop first asks, and dropped when the loop was closed."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._values: dict[asyncio.AbstractEventLoop, tuple[V, asyncio.Lock]] = {}
        self._lock = Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[V]:
        """Give the value of the running loop to one task at a time."""
        value, lock = self._of(current_loop())
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


def beside(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Begin a coroutine in the running loop, without waiting for it."""
    return current_loop().create_task(coroutine)


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await a call that may block for a moment, made in a thread.

    Not one of the loop's own executor: the program may have filled it with calls that wait for us.
    """
    call = partial(copy_context().run, function, *args, **kwargs)
    loop = current_loop()
    try:
        made = loop.run_in_executor(_pool(), call)
    except RuntimeError as error:  # the interpreter is ending and starts no more threads
        raise_interrupt(error)
        return call()
    return await made


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "chatcache")


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_pool.cache_clear)


def finish_apart(make: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a coroutine to its end on a loop of its own, whatever loop this thread has; give up after a second."""

    async def bounded() -> None:
        await asyncio.wait_for(make(), _FINISH_WITHIN)

    finished: SimpleQueue[None] = SimpleQueue()  # no join, which a tool may forbid on the thread of a loop

    def run() -> None:
        with suppress(TimeoutError):
            asyncio.run(bounded())
        finished.put(None)

    if start(Thread(target=run, daemon=True)):
        with suppress(Empty):
            finished.get(timeout=_FINISH_WITHIN)
    elif running_loop() is None:
        run()
